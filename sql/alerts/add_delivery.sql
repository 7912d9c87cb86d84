-- Adds a change of a finding's state to the outbox of a target, unless it was added before. Returns the delivery_id, or no row.
-- Parameters: organization_id, target_id, delivery_id, finding_id, change, payload, at.
--
-- example: change=opened; delivery_id=0a1b2c3d-0000-4000-8000-000000000001
insert into alert_deliveries (
    organization_id, delivery_id, target_id, finding_id, change, payload, created_at, next_attempt_at
)
values (
    %(organization_id)s, %(delivery_id)s, %(target_id)s, %(finding_id)s, %(change)s, %(payload)s, %(at)s, %(at)s
)
on conflict do nothing
returning delivery_id
