-- Returns the hourly tokens of the agents that worked on one of the organization's days of rest, unless they usually work on the
-- weekday of this day. One row per agent: agent_id, agent_name; history (json): an array with one item per counter row, [days
-- since first_day, the 24 hourly counts of tokens]. One more row has null as agent_id, and the days of rest as its history: [0,
-- 6] are Sunday and Saturday.
-- The days of rest are max_rest_days weekdays: first the weekdays on which the organization has at most half of its average
-- tokens per weekday, and then Saturday and Sunday. An agent usually works on the weekday of a day of rest if, on this weekday of
-- each of the two weeks before, it had more than half of the tokens that it had on the day of rest.
-- Parameters: organization_id; first_day (date): the first day of the histories; since and until (date): the first evaluated day,
-- and the day after the last; weeks: the number of weeks that decide the days of rest; max_rest_days; min_tokens: the minimum
-- number of tokens of an agent on a day of rest; max_agents.
--
-- max-pages-read: 4000000, for the days of ten thousand agents
-- max-pages-read-with-1000-agents: 25000
with weekdays as (
    select
        extract(dow from calendar.day)::integer as dow,
        percentile_disc(0.5) within group (order by coalesce(counted.tokens, 0)) as tokens
    from generate_series(2, 7 * %(weeks)s::integer + 1) as ago (days)
    cross join lateral (select %(until)s::date - ago.days as day) as calendar
    left join (
        select usage.day, sum(usage.tokens) as tokens
        from usage_daily as usage
        where usage.organization_id = %(organization_id)s and usage.day < %(until)s::date - 1
            and usage.day >= %(until)s::date - 7 * %(weeks)s::integer - 1
        group by usage.day
    ) as counted on counted.day = calendar.day
    group by extract(dow from calendar.day)
),
rest_days as materialized (
    select dow
    from weekdays
    order by tokens * 2 > (select avg(tokens) from weekdays), dow in (0, 6) desc, tokens
    limit %(max_rest_days)s::integer
),
at_work as materialized (
    select calendar.day, counted.agent_id, counted.tokens
    from generate_series(0, %(until)s::date - %(since)s::date - 1) as later (days)
    -- "offset 0" makes the planner look up each day. Otherwise it would expect many days, and read all history.
    cross join lateral (select %(since)s::date + later.days as day offset 0) as calendar
    join rest_days on rest_days.dow = extract(dow from calendar.day)
    cross join lateral (
        select usage.agent_id, sum(usage.tokens) as tokens
        from agent_usage_daily as usage
        where usage.organization_id = %(organization_id)s and usage.day = calendar.day
        group by usage.agent_id having sum(usage.tokens) >= %(min_tokens)s::integer
    ) as counted
),
-- This filter drops agents that usually work on the weekday of at_work.day: both 7 and 14 days earlier, they had more than half
-- of the tokens that they had on at_work.day.
candidates as materialized (
    select at_work.agent_id, max(at_work.tokens) as tokens
    from at_work
    cross join lateral (
        select count(*) as weeks
        from (values (7), (14)) as earlier_weeks (days)
        cross join lateral (select at_work.day - earlier_weeks.days as day offset 0) as calendar
        cross join lateral (
            select
            from agent_usage_daily as usage
            where usage.organization_id = %(organization_id)s and usage.day = calendar.day
                and usage.agent_id = at_work.agent_id and usage.tokens * 2 > at_work.tokens
            limit 1
        ) as seen
    ) as at_home
    where at_home.weeks < 2
    group by at_work.agent_id
    order by tokens desc, at_work.agent_id limit %(max_agents)s::integer
)
{token_history}
union all
select null, null, json_agg(rest_days.dow order by rest_days.dow)
from rest_days where exists (select from candidates) having count(*) > 0
order by agent_id
