-- An organization's usage on each UTC day of a period, with the requests of each hour. One row a day, oldest first,
-- days without usage included.
-- Parameters: organization_id; first; last: the first and the last day.
--
-- pages: 500, the organization's days, four rows each
-- example: first=2026-01-16; last=2026-04-15
with counted as (
    select
        usage.day,
        sum(usage.tokens)::bigint as tokens,
        sum((select sum(hours.rejected) from unnest(usage.rejected_by_hour) as hours (rejected)))::bigint as rejected,
        -- Summed before the hours become rows, as in analytics/activity_heatmap.
        array[
            sum(usage.requests_by_hour[1]), sum(usage.requests_by_hour[2]), sum(usage.requests_by_hour[3]),
            sum(usage.requests_by_hour[4]), sum(usage.requests_by_hour[5]), sum(usage.requests_by_hour[6]),
            sum(usage.requests_by_hour[7]), sum(usage.requests_by_hour[8]), sum(usage.requests_by_hour[9]),
            sum(usage.requests_by_hour[10]), sum(usage.requests_by_hour[11]), sum(usage.requests_by_hour[12]),
            sum(usage.requests_by_hour[13]), sum(usage.requests_by_hour[14]), sum(usage.requests_by_hour[15]),
            sum(usage.requests_by_hour[16]), sum(usage.requests_by_hour[17]), sum(usage.requests_by_hour[18]),
            sum(usage.requests_by_hour[19]), sum(usage.requests_by_hour[20]), sum(usage.requests_by_hour[21]),
            sum(usage.requests_by_hour[22]), sum(usage.requests_by_hour[23]), sum(usage.requests_by_hour[24])
        ]::bigint[] as requests_by_hour
    from usage_daily as usage
    where
        usage.organization_id = %(organization_id)s
        and usage.day >= %(first)s::date
        and usage.day < %(last)s::date + 1
    group by usage.day
)
select
    calendar.day as on_day,
    coalesce(counted.tokens, 0) as tokens,
    coalesce(counted.rejected, 0) as rejected,
    coalesce(counted.requests_by_hour, array_fill(0::bigint, array[24])) as requests_by_hour
from generate_series(0, %(last)s::date - %(first)s::date) as since (days)
cross join lateral (select %(first)s::date + since.days as day) as calendar
left join counted on counted.day = calendar.day
order by calendar.day
