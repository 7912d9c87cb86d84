-- Ends the lease of a target. Returns its id, or no row if it was deleted.
-- Parameters: organization_id, target_id.
update alert_targets
set leased_until = '-infinity'
where organization_id = %(organization_id)s
    and target_id = %(target_id)s
returning target_id
