-- Returns the OpenID provider of an organization, or no row if the organization has none. Parameters: organization_id.
select {openid_provider}
from openid_providers
where organization_id = %(organization_id)s
