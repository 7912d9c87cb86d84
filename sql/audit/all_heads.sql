-- The last event of every chain, for the operator. One row per chain: organization_id, sequence, hash.
-- Parameters: none.
--
-- for: operator
select organization_id, sequence, hash
from audit_heads
order by organization_id
