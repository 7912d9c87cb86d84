-- Returns each alert target of all organizations, one row each, with its encrypted address.
-- Parameters: none.
--
-- for: operator
select organization_id, target_id, sealed
from alert_targets
order by organization_id, target_id
