-- Notes that an alert target is tested, unless it was tested at or after a given instant; what is waiting is due at
-- once, also if it has failed before. Returns its id, or no row.
-- Parameters: organization_id, target_id, at, tested_before.
with due as (
    update alert_deliveries
    set next_attempt_at = %(at)s
    where organization_id = %(organization_id)s
        and target_id = %(target_id)s
        and delivered_at is null
        and abandoned_at is null
        and next_attempt_at > %(at)s
        and exists (
            select
            from alert_targets
            where alert_targets.organization_id = %(organization_id)s
                and alert_targets.target_id = %(target_id)s
                and coalesce(tested_at, '-infinity') < %(tested_before)s
        )
)

update alert_targets
set tested_at = %(at)s, paused_until = '-infinity'
where organization_id = %(organization_id)s
    and target_id = %(target_id)s
    and coalesce(tested_at, '-infinity') < %(tested_before)s
returning target_id
