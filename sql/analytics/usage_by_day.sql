-- Returns an organization's usage per UTC day of a period, including the requests in each hour, one row per day, oldest first,
-- including days without usage.
-- Parameters: organization_id; first and last: the first and the last day of the period.
--
-- max-pages-read: 500, for four counter rows (slots) per day
-- example: first=2026-01-16; last=2026-04-15
with counted as (
    select
        usage.day,
        sum(usage.tokens)::bigint as tokens,
        sum((select sum(hours.rejected) from unnest(usage.rejected_by_hour) as hours (rejected)))::bigint as rejected,
        {sums_by_hour} as requests_by_hour
    from (
        select day, tokens, rejected_by_hour, requests_by_hour as by_hour
        from usage_daily
        where organization_id = %(organization_id)s and day >= %(first)s::date and day < %(last)s::date + 1
    ) as usage
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
