-- Requests by UTC day of week (0 = Sunday) and hour over the last days, today included. One row per cell that
-- is not zero, by day of week, then hour.
-- Parameters: organization_id; day: today in UTC; days: how many days.
with counted as (
    select
        extract(dow from usage.day)::integer as dow,
        usage.requests_by_hour as by_hour
    from usage_daily as usage
    where
        usage.organization_id = %(organization_id)s
        and usage.day >= %(day)s::date - %(days)s::integer + 1
        and usage.day < %(day)s::date + 1
),
-- Summed before the hours become rows: seven arrays instead of one per day and slot. It takes a quarter of the time.
week as (
    select
        dow,
        array[
            sum(by_hour[1]), sum(by_hour[2]), sum(by_hour[3]), sum(by_hour[4]),
            sum(by_hour[5]), sum(by_hour[6]), sum(by_hour[7]), sum(by_hour[8]),
            sum(by_hour[9]), sum(by_hour[10]), sum(by_hour[11]), sum(by_hour[12]),
            sum(by_hour[13]), sum(by_hour[14]), sum(by_hour[15]), sum(by_hour[16]),
            sum(by_hour[17]), sum(by_hour[18]), sum(by_hour[19]), sum(by_hour[20]),
            sum(by_hour[21]), sum(by_hour[22]), sum(by_hour[23]), sum(by_hour[24])
        ] as by_hour
    from counted
    group by dow
)
select
    week.dow,
    (cell.ordinal - 1)::integer as hour,
    cell.requests as count
from week
cross join lateral unnest(week.by_hour) with ordinality as cell (requests, ordinal)
where cell.requests > 0
order by week.dow, hour
