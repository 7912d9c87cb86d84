-- Stores the address of an alert target encrypted again, unless it was changed meanwhile. One row if it was stored.
-- Parameters: organization_id, target_id, sealed; previous: what was read.
--
-- for: operator
update alert_targets
set sealed = %(sealed)s
where organization_id = %(organization_id)s and target_id = %(target_id)s and sealed = %(previous)s
returning target_id
