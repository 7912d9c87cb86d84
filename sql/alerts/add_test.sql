-- Puts a test message for an alert target into the outbox. Returns the ID of its delivery.
-- Parameters: organization_id, target_id, delivery_id, finding_id; payload: the message as JSON; at.
--
-- example: delivery_id=0a1b2c3d-0000-4000-8000-000000000001
insert into alert_deliveries (
    organization_id, delivery_id, target_id, finding_id, change, payload, created_at, next_attempt_at
)
values (
    %(organization_id)s, %(delivery_id)s, %(target_id)s, %(finding_id)s, 'test', %(payload)s, %(at)s, %(at)s
)
returning delivery_id
