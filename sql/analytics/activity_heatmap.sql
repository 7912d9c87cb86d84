-- Returns an organization's requests in a period by UTC day of the week and hour, one row per day of the week with usage, Sunday
-- first: dow (0 is Sunday); by_hour: the requests in each of the 24 hours.
-- Parameters: organization_id; first and last: the first and the last day of the period.
--
-- max-pages-read: 500, for four counter rows (slots) per day
select
    -- 0001-01-07 was a Sunday, so the remainder of the days since then, divided by 7, is the day of the week (0: Sunday).
    -- extract(dow from usage.day) would take longer.
    mod(usage.day - date '0001-01-07', 7) as dow,
    {sums_by_hour} as by_hour
from (
    select day, requests_by_hour as by_hour
    from usage_daily
    where organization_id = %(organization_id)s and day >= %(first)s::date and day < %(last)s::date + 1
) as usage
group by dow
order by dow
