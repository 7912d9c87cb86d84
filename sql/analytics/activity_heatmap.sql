-- Requests by UTC day of week and hour in a period. One row per day of week on which something was counted (dow,
-- 0 = Sunday), in order, with the requests of its 24 hours.
-- Parameters: organization_id; first; last: the first and the last day.
--
-- pages: 500, the organization's days, four rows each
select
    -- Days since a Sunday, the first one of all. extract(dow from …) computes with the type numeric, which takes longer.
    mod(usage.day - date '0001-01-07', 7) as dow,
    {sums_by_hour} as by_hour
from (
    select day, requests_by_hour as by_hour
    from usage_daily
    where organization_id = %(organization_id)s and day >= %(first)s::date and day < %(last)s::date + 1
) as usage
group by dow
order by dow
