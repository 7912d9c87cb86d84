-- Records that a delivery to an alert target failed, and pauses the target. Returns the target's ID.
-- Parameters: organization_id, target_id, delivery_id, at; error: the reason of the failure; next_attempt_at; paused_until: the
-- end of the target's pause; is_last: whether the delivery is given up; is_gone: whether the target is disabled, because it
-- refuses all further messages.
with failed as (
    update alert_deliveries
    set
        attempts = attempts + 1,
        last_error = %(error)s,
        next_attempt_at = %(next_attempt_at)s,
        abandoned_at = case when %(is_last)s then %(at)s::timestamptz end
    where organization_id = %(organization_id)s and delivery_id = %(delivery_id)s and delivered_at is null
)

update alert_targets
set
    last_failure_at = %(at)s,
    failing_since = coalesce(failing_since, %(at)s),
    last_error = %(error)s,
    failures = failures + 1,
    paused_until = %(paused_until)s,
    enabled = enabled and not %(is_gone)s
where organization_id = %(organization_id)s and target_id = %(target_id)s
returning target_id
