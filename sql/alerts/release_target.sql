-- Ends the lease of a target. Returns its id, or no row if it was deleted or another process has leased it since.
-- Parameters: organization_id, target_id, leased_until: of the lease.
update alert_targets
set leased_until = '-infinity'
where organization_id = %(organization_id)s
    and target_id = %(target_id)s
    and leased_until = %(leased_until)s
returning target_id
