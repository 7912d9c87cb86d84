-- Tokens issued per UTC day. One row a day, oldest first, zeros included; the last is the day of "at".
-- Parameters: organization_id; at (timestamptz): now; days: how many days.
select
    to_char(calendar.day, 'YYYY-MM-DD') as date,
    coalesce(sum(usage.tokens), 0)::bigint as count
from generate_series(%(days)s::integer - 1, 0, -1) as ago (days)
cross join lateral (select (%(at)s::timestamptz at time zone 'UTC')::date - ago.days as day) as calendar
left join usage_daily as usage
    on usage.organization_id = %(organization_id)s
    and usage.day = calendar.day
group by calendar.day
order by calendar.day
