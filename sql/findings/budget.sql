-- Returns the organization's budget, its tokens in the current UTC month, and a forecast of the whole month's tokens. One row:
-- budget, month_begins, month_ends, days_of_history, tokens, forecast; crosses_on: the day on which the tokens exceed the budget;
-- near_on: the day on which the tokens reach near_percent of the budget.
-- The forecast is the sum of the tokens of the month's past days and of one estimate for today and for each remaining day. The
-- estimate is the median of the tokens on the day's weekday in the last weeks, or the mean of all days if the weekday has no
-- history. If today's tokens already exceed the estimate for today, they replace the estimate.
-- Parameters: organization_id; day: today in UTC; weeks: the number of weeks of history; near_percent.
--
-- max-pages-read: 500, for four counter rows (slots) per day
with counted as (
    select usage.day, sum(usage.tokens)::bigint as tokens
    from usage_daily as usage
    where
        usage.organization_id = %(organization_id)s
        and usage.day >= least(
            date_trunc('month', %(day)s::date::timestamp)::date,
            %(day)s::date - 7 * %(weeks)s::integer
        )
        and usage.day < %(day)s::date + 1
    group by usage.day
),
now as (
    select
        %(day)s::date as today,
        date_trunc('month', %(day)s::date::timestamp)::date as month_begins,
        (date_trunc('month', %(day)s::date::timestamp) + interval '1 month')::date as month_ends,
        (select min(day) from usage_daily where organization_id = %(organization_id)s) as first_day,
        (
            select coalesce(sum(counted.tokens), 0)
            from counted
            where counted.day = %(day)s::date
        ) as tokens_today
),
-- The history begins with the organization's first usage. Later days without a row had no tokens.
past as (
    select
        extract(dow from calendar.day) as dow,
        coalesce(counted.tokens, 0) as tokens
    from now
    cross join generate_series(1, 7 * %(weeks)s::integer) as ago (days)
    cross join lateral (select now.today - ago.days as day) as calendar
    left join counted on counted.day = calendar.day
    where calendar.day >= now.first_day
),
usual as (
    select week.dow, round(coalesce(of_weekday.median, of_all.mean, now.tokens_today)) as tokens
    from now
    cross join generate_series(0, 6) as week (dow)
    cross join (select avg(tokens) as mean from past) as of_all
    left join (
        select dow, (percentile_cont(0.5) within group (order by tokens))::numeric as median
        from past
        group by dow
    ) as of_weekday on of_weekday.dow = week.dow
),
month as (
    select
        calendar.day,
        sum(
            case
                when calendar.day < now.today then coalesce(counted.tokens, 0)
                when calendar.day = now.today then greatest(now.tokens_today, usual.tokens)
                else usual.tokens
            end
        ) over (order by calendar.day) as tokens
    from now
    cross join lateral generate_series(0, now.month_ends - now.month_begins - 1) as since (days)
    cross join lateral (select now.month_begins + since.days as day) as calendar
    join usual on usual.dow = extract(dow from calendar.day)
    left join counted on counted.day = calendar.day
)
select
    organization.monthly_token_budget as budget,
    now.month_begins,
    now.month_ends,
    coalesce(now.today - now.first_day, 0) as days_of_history,
    (select coalesce(sum(tokens), 0)::bigint from counted where day >= now.month_begins) as tokens,
    (select max(tokens)::bigint from month) as forecast,
    (select min(day) from month where tokens > organization.monthly_token_budget) as crosses_on,
    (
        select min(day) from month
        where tokens * 100 >= organization.monthly_token_budget * %(near_percent)s::bigint
    ) as near_on
from organizations as organization
cross join now
where organization.organization_id = %(organization_id)s
