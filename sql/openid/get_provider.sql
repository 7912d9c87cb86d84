-- Returns the OpenID provider of an organization. Returns one row, or no row. Parameters: organization_id.
select {openid_provider}
from openid_providers
where organization_id = %(organization_id)s
