-- Replaces the encrypted address of an alert target, unless the address was changed meanwhile. Returns the target's ID, or no row
-- if the address was changed.
-- Parameters: organization_id, target_id; sealed: the address encrypted with another key; previous: the encrypted address to
-- replace.
--
-- for: operator
update alert_targets
set sealed = %(sealed)s
where organization_id = %(organization_id)s and target_id = %(target_id)s and sealed = %(previous)s
returning target_id
