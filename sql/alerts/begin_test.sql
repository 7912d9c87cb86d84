-- Records that an alert target is tested now, unless its last test was at or after tested_before. A recorded test ends the
-- target's pause after failures, and makes all its waiting deliveries due. Returns the target's ID, or no row if no test was
-- recorded.
-- Parameters: organization_id, target_id; at: the current time; tested_before.
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
