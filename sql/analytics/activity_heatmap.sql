-- Returns requests by UTC day of week and hour in a period, one row per day of week with usage, in order: dow (0 = Sunday);
-- by_hour: the requests in each of the day's 24 hours.
-- Parameters: organization_id; first; last: the first and the last day.
--
-- pages: 500, the organization's days, four rows each
select
    -- The days since the Sunday 0001-01-07, modulo 7. extract(dow from …) is slower, because it calculates with the type numeric.
    mod(usage.day - date '0001-01-07', 7) as dow,
    {sums_by_hour} as by_hour
from (
    select day, requests_by_hour as by_hour
    from usage_daily
    where organization_id = %(organization_id)s and day >= %(first)s::date and day < %(last)s::date + 1
) as usage
group by dow
order by dow
