-- Returns the last audit event of an organization's chain, one row: sequence, hash. Returns no row if the chain has no event.
-- Parameters: organization_id.
select sequence, hash
from audit_heads
where organization_id = %(organization_id)s
