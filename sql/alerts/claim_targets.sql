-- Leases alert targets of the organization, so that no other process sends to them until leased_until. Chooses targets that are
-- enabled and have a due delivery, but no pause and no lease. The targets whose last lease ended earliest come first. Returns one
-- row per leased target, including its encrypted address.
-- Parameters: organization_id; at: the current time; leased_until; max_targets.
--
-- max-pages-read: 300, for the earliest delivery of each target of the organization
-- example: max_targets=8
with claimed as materialized (
    select target_id
    from alert_targets
    where organization_id = %(organization_id)s
        and enabled
        and paused_until <= %(at)s
        and leased_until <= %(at)s
        and (
            select next_attempt_at
            from alert_deliveries
            where alert_deliveries.organization_id = %(organization_id)s
                and alert_deliveries.target_id = alert_targets.target_id
                and delivered_at is null
                and abandoned_at is null
            -- An index has a target's deliveries in this order, so PostgreSQL reads only the earliest delivery.
            order by next_attempt_at
            limit 1
        ) <= %(at)s
    order by leased_until
    limit %(max_targets)s
    for update skip locked
)

update alert_targets
set leased_until = %(leased_until)s
from claimed
where alert_targets.organization_id = %(organization_id)s and alert_targets.target_id = claimed.target_id
returning alert_targets.target_id, alert_targets.type, alert_targets.sealed, alert_targets.failures,
    alert_targets.leased_until
