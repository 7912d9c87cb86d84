-- Requests by UTC day of week (0 = Sunday) and hour over the last days, today included. One row a cell that is not
-- zero, by day of week, then hour.
-- Parameters: organization_id; at (timestamptz): now; days: how many days.
select
    extract(dow from usage.day)::integer as dow,
    (by_hour.ordinal - 1)::integer as hour,
    sum(by_hour.requests)::bigint as count
from usage_daily as usage
cross join lateral unnest(usage.requests_by_hour) with ordinality as by_hour (requests, ordinal)
where
    usage.organization_id = %(organization_id)s
    and usage.day >= (%(at)s::timestamptz at time zone 'UTC')::date - %(days)s::integer + 1
    and usage.day < (%(at)s::timestamptz at time zone 'UTC')::date + 1
    and by_hour.requests > 0
group by dow, hour
order by dow, hour
