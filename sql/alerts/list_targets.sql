-- Returns the organization's alert targets, one row per target, oldest first. Parameters: organization_id.
select {alert_target}
from alert_targets
where organization_id = %(organization_id)s
order by created_at, target_id
