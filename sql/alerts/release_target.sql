-- Ends the lease of an alert target early. Returns the target's ID, or no row if the target was deleted or another process has
-- leased it.
-- Parameters: organization_id, target_id; at: the new end of the lease; leased_until: the old end, by which the statement
-- recognizes the lease.
--
-- example: leased_until=-infinity
update alert_targets
set leased_until = %(at)s
where organization_id = %(organization_id)s and target_id = %(target_id)s and leased_until = %(leased_until)s
returning target_id
