-- Records that a delivery failed, the instant of the next attempt and the end of the target's pause. Returns the target's row.
-- Parameters: organization_id, target_id, delivery_id, at, error, next_attempt_at, paused_until, is_last: whether no further
-- attempt of this delivery is made; is_gone: whether the target has refused all further deliveries and must be disabled.
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
