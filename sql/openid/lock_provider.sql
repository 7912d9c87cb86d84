-- Locks the OpenID provider of an organization until the transaction ends. Returns its row, or no row.
-- Parameters: organization_id.
select {openid_provider}
from openid_providers
where organization_id = %(organization_id)s
for update
