-- The alert targets of all organizations, with their encrypted addresses. Returns one row per target.
-- Parameters: none.
--
-- for: operator
select organization_id, target_id, sealed
from alert_targets
order by organization_id, target_id
