-- Returns one alert target, or no row.
-- Parameters: organization_id, target_id.
select
    target_id, name, type, destination, kinds, owners, minimum_severity, enabled, created_at, updated_at, last_success_at,
    last_failure_at, failing_since, last_error
from alert_targets
where organization_id = %(organization_id)s
    and target_id = %(target_id)s
