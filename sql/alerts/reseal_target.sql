-- Stores the re-encrypted address of an alert target, unless the address was changed meanwhile. Returns one row if the address
-- was stored.
-- Parameters: organization_id, target_id, sealed; previous: the address that was read.
--
-- for: operator
update alert_targets
set sealed = %(sealed)s
where organization_id = %(organization_id)s and target_id = %(target_id)s and sealed = %(previous)s
returning target_id
