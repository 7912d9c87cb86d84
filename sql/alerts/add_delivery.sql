-- Puts a state change into the outbox for a target; once, however often. Returns its delivery_id, or no row.
-- Parameters: organization_id, target_id, delivery_id, finding_id, change, payload, at.
insert into alert_deliveries (
    organization_id, delivery_id, target_id, finding_id, change, payload, created_at, next_attempt_at
)
values (
    %(organization_id)s, %(delivery_id)s, %(target_id)s, %(finding_id)s, %(change)s, %(payload)s, %(at)s, %(at)s
)
on conflict do nothing
returning delivery_id
