-- Records a test of an alert target, unless the last test was at or after tested_before. All waiting deliveries become due at
-- once, including those that have failed. Returns the target's id, or no row if no test is recorded.
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
