-- The hours of the week with the most requests on average over the last weeks of whole UTC days, today excluded: as
-- many weeks as the organization has, and at least one. One row an hour of the week, the busiest first; none where the
-- busiest hour that was seen had too few requests.
-- Parameters: organization_id; day: today in UTC; weeks: the maximum number; min_requests: of the busiest
-- hour; max_hours: the maximum number of hours of the week.
--
-- pages: 500, the organization's days, four rows each
with read as (
    select
        greatest(
            %(day)s::date - 7 * %(weeks)s::integer,
            (select min(day) from usage_daily where organization_id = %(organization_id)s)
        ) as first_day,
        %(day)s::date as today
),
hourly as (
    select usage.day, cell.ordinal::integer - 1 as hour, sum(cell.requests)::bigint as requests
    from usage_daily as usage
    cross join lateral unnest(usage.requests_by_hour) with ordinality as cell (requests, ordinal)
    where
        usage.organization_id = %(organization_id)s
        and usage.day >= %(day)s::date - 7 * %(weeks)s::integer
        and usage.day < %(day)s::date
        and cell.requests > 0
    group by usage.day, cell.ordinal
),
-- How often each day of the week is among the days that are read: one without a row had no request.
weekdays as (
    select extract(dow from read.first_day + since.days)::integer as dow, count(*) as days
    from read
    cross join lateral generate_series(0, read.today - read.first_day - 1) as since (days)
    group by dow
),
week as (
    select
        weekdays.dow,
        hourly.hour,
        sum(hourly.requests) / weekdays.days as mean
    from hourly
    join weekdays on weekdays.dow = extract(dow from hourly.day)
    group by weekdays.dow, weekdays.days, hourly.hour
),
greatest_seen as (
    select day, hour, requests
    from hourly
    order by requests desc, day desc, hour
    limit 1
)
select
    read.first_day,
    read.today,
    week.dow,
    week.hour,
    week.mean::double precision as mean,
    (
        select sum(hourly.requests)::double precision / (24 * (read.today - read.first_day))
        from hourly
    ) as mean_of_all,
    greatest_seen.day as greatest_day,
    greatest_seen.hour as greatest_hour,
    greatest_seen.requests as greatest_requests
from read
cross join week
cross join greatest_seen
where
    read.first_day <= read.today - 7
    and greatest_seen.requests >= %(min_requests)s::bigint
order by week.mean desc, week.dow, week.hour
limit %(max_hours)s::integer
