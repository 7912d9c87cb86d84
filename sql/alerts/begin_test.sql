-- Notes that an alert target is tested, unless it was tested at or after a given instant; what is waiting may be tried at
-- once. Returns its id, or no row.
-- Parameters: organization_id, target_id, at, tested_before.
update alert_targets
set tested_at = %(at)s, paused_until = '-infinity'
where organization_id = %(organization_id)s
    and target_id = %(target_id)s
    and coalesce(tested_at, '-infinity') < %(tested_before)s
returning target_id
