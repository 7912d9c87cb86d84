-- The last event of an organization's chain. One row: sequence, hash. No row if the chain has no event.
-- Parameters: organization_id; at is not used.
select sequence, hash
from audit_heads
where organization_id = %(organization_id)s
