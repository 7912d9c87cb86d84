-- Returns one row for each alert target of the organization, the oldest first.
-- Parameters: organization_id.
select
    target_id, name, type, destination, kinds, owners, minimum_severity, enabled, created_at, updated_at, last_success_at,
    last_failure_at, failing_since, last_error
from alert_targets
where organization_id = %(organization_id)s
order by created_at, target_id
