-- Changes an alert target. If the change enables the target or replaces its address, it also ends the target's pause after
-- failures, and makes all its waiting deliveries due. Returns the target's row, or no row if there is no such target.
-- Parameters: organization_id, target_id, at, name; destination: the public part of the address; sealed: the encrypted address;
-- kinds, owners, minimum_severity, enabled.
--
-- example: name=new; minimum_severity=info
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
                and ((%(enabled)s and not enabled) or sealed <> %(sealed)s)
        )
)

update alert_targets
set
    name = %(name)s,
    destination = %(destination)s,
    sealed = %(sealed)s,
    kinds = %(kinds)s::text[],
    owners = %(owners)s::text[],
    minimum_severity = %(minimum_severity)s,
    enabled = %(enabled)s,
    updated_at = %(at)s,
    failing_since = case when %(enabled)s then failing_since end,
    failures = case when (%(enabled)s and not enabled) or sealed <> %(sealed)s then 0 else failures end,
    paused_until = case when (%(enabled)s and not enabled) or sealed <> %(sealed)s then '-infinity' else paused_until end
where organization_id = %(organization_id)s and target_id = %(target_id)s
returning {alert_target}
