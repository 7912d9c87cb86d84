-- Returns the encrypted addresses of the alert targets of all organizations, one row per target.
--
-- for: operator
select organization_id, target_id, sealed
from alert_targets
order by organization_id, target_id
