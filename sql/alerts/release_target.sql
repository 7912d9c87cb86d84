-- Ends the lease of a target at "at". Returns the target's id, or no row if the target was deleted or another process has leased
-- it.
-- Parameters: organization_id, target_id, at, leased_until: of the lease.
--
-- example: leased_until=-infinity
update alert_targets
set leased_until = %(at)s
where organization_id = %(organization_id)s and target_id = %(target_id)s and leased_until = %(leased_until)s
returning target_id
