-- Returns the row of an alert target, including its encrypted address, or no row if there is no such target.
-- Parameters: organization_id, target_id.
select {alert_target}, sealed
from alert_targets
where organization_id = %(organization_id)s and target_id = %(target_id)s
