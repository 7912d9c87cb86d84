-- Changes an alert target; a target that is enabled again, or has another address, is tried at once. Returns its row, or
-- none if there is no such target.
-- Parameters: organization_id, target_id, at, name, destination, sealed, kinds, minimum_severity, enabled.
update alert_targets
set
    name = %(name)s,
    destination = %(destination)s,
    sealed = %(sealed)s,
    kinds = %(kinds)s::text[],
    minimum_severity = %(minimum_severity)s,
    enabled = %(enabled)s,
    updated_at = %(at)s,
    failing_since = case when %(enabled)s then failing_since end,
    failures = case when (%(enabled)s and not enabled) or sealed <> %(sealed)s then 0 else failures end,
    paused_until = case when (%(enabled)s and not enabled) or sealed <> %(sealed)s then '-infinity' else paused_until end
where organization_id = %(organization_id)s
    and target_id = %(target_id)s
returning
    target_id, name, type, destination, kinds, minimum_severity, enabled, created_at, updated_at, last_success_at,
    last_failure_at, failing_since, last_error
