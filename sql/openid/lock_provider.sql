-- Locks the OpenID provider of an organization until the transaction ends. Returns the provider's row, or no row if there is none.
-- Parameters: organization_id.
select {openid_provider}
from openid_providers
where organization_id = %(organization_id)s
for update
