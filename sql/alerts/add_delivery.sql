-- Puts a change of a finding into the outbox for an alert target, unless the outbox already has the change for the target. Returns
-- the delivery's ID, or no row if nothing was added.
-- Parameters: organization_id, target_id, delivery_id, finding_id; change: opened, escalated or resolved; payload: the change as
-- JSON; at.
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
