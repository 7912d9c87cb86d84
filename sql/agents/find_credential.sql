-- Whether the organization has a credential with this id, revoked or not. One row, or none.
-- Parameters: organization_id; credential_id.
select credential_id
from credentials
where
    organization_id = %(organization_id)s
    and credential_id = %(credential_id)s
