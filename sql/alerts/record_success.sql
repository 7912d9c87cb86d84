-- Records that an alert target accepted a delivery, and ends the target's pause after failures. Returns the target's ID.
-- Parameters: organization_id, target_id, delivery_id, at.
with delivered as (
    update alert_deliveries
    set delivered_at = %(at)s, attempts = attempts + 1, last_error = null
    where organization_id = %(organization_id)s and delivery_id = %(delivery_id)s and delivered_at is null
)

update alert_targets
set last_success_at = %(at)s, failing_since = null, last_error = null, failures = 0, paused_until = '-infinity'
where organization_id = %(organization_id)s and target_id = %(target_id)s
returning target_id
