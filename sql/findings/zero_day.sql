-- The completed UTC days without a token, of the last days, that usually have some: the median of the same weekday in
-- the weeks before reaches the least. Such days in a row, also across days that are usually empty, are one row: first
-- and last day, and how many tokens a day are usual, on average.
-- Parameters: organization_id; day: today in UTC; days: how many days back, today included; weeks: how many weeks
-- before a day are looked at; min_weeks: how many of them the organization must have been at work; min_tokens.
with counted as (
    select usage.day, sum(usage.tokens) as tokens
    from usage_daily as usage
    where
        usage.organization_id = %(organization_id)s
        and usage.day >= %(day)s::date
            - %(days)s::integer + 1 - 7 * %(weeks)s::integer
        and usage.day < %(day)s::date
    group by usage.day
    having sum(usage.tokens) > 0
),
begun as materialized (
    select min(day) as day from counted
),
judged as (
    select
        calendar.day,
        percentile_disc(0.5) within group (order by coalesce(before.tokens, 0)) as usual
    from generate_series(%(days)s::integer - 1, 1, -1) as ago (days)
    cross join lateral (select %(day)s::date - ago.days as day) as calendar
    cross join generate_series(1, %(weeks)s::integer) as past (weeks)
    join begun on begun.day <= calendar.day - 7 * past.weeks
    left join counted as before on before.day = calendar.day - 7 * past.weeks
    where not exists (select from counted as now where now.day = calendar.day)
    group by calendar.day
    having count(*) >= %(min_weeks)s::integer
),
zero as (
    select
        day,
        usual,
        -- The days with tokens before it: as many for all days of a run.
        (select count(*) from counted where counted.day < judged.day) as run
    from judged
    where usual >= %(min_tokens)s::bigint
)
select
    min(day) as first_day,
    max(day) as last_day,
    avg(usual)::float8 as usual
from zero
group by run
order by first_day
