-- Returns the numbers of an organization's alerts, for the operator's metrics. One row per type of alert target: the alerts that
-- wait for enabled targets, the instant of the oldest waiting alert, and the alerts delivered and abandoned in the last day.
-- Parameters: organization_id; at (timestamptz).
--
-- max-pages-read: 300000, for a hundred thousand alerts of the last days, two pages each
with recent as materialized (
    select
        target_id,
        count(*) filter (where coalesce(delivered_at, abandoned_at) is null) as waiting,
        min(created_at) filter (where coalesce(delivered_at, abandoned_at) is null) as oldest,
        count(*) filter (where delivered_at >= %(at)s::timestamptz - interval '1 day') as delivered,
        count(*) filter (where abandoned_at >= %(at)s::timestamptz - interval '1 day') as abandoned
    from alert_deliveries
    where
        organization_id = %(organization_id)s
        -- Older alerts are not counted, because each was delivered or abandoned within three days, so more than a day ago.
        and created_at >= %(at)s::timestamptz - interval '4 days'
    group by target_id
)
select
    targets.type,
    coalesce(sum(recent.waiting) filter (where targets.enabled), 0)::bigint as waiting,
    min(recent.oldest) filter (where targets.enabled) as oldest,
    coalesce(sum(recent.delivered), 0)::bigint as delivered,
    coalesce(sum(recent.abandoned), 0)::bigint as abandoned
from alert_targets as targets
left join recent
    on recent.target_id = targets.target_id
where targets.organization_id = %(organization_id)s
group by targets.type
