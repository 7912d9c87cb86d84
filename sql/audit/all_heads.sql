-- Returns the last audit event of each chain, one row per chain: organization_id, sequence, hash.
--
-- for: operator
select organization_id, sequence, hash
from audit_heads
order by organization_id
