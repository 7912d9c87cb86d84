-- Tokens issued per UTC day. One row per day, oldest first, zeros included; the last is "day".
-- Parameters: organization_id; day: today in UTC; days: how many days.
-- The range uses the index. A join with the calendar, day by day, would read the whole history.
with counted as (
    select usage.day, sum(usage.tokens)::bigint as tokens
    from usage_daily as usage
    where
        usage.organization_id = %(organization_id)s
        and usage.day >= %(day)s::date - %(days)s::integer + 1
        and usage.day < %(day)s::date + 1
    group by usage.day
)
select
    to_char(calendar.day, 'YYYY-MM-DD') as date,
    coalesce(counted.tokens, 0) as count
from generate_series(%(days)s::integer - 1, 0, -1) as ago (days)
cross join lateral (select %(day)s::date - ago.days as day) as calendar
left join counted on counted.day = calendar.day
order by calendar.day
