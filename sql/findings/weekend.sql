-- Returns the tokens per hour of agents that worked on a day of rest of the organization, unless they had more than half as many
-- tokens on that weekday in both of the two previous weeks. One row per agent: agent_id, agent_name, and history: json, an array
-- of [days since first_day, the tokens of its 24 hours], one item per day and counter row (slot). One row without agent_id, whose
-- history is the days of rest, such as [0, 6] for Sunday and Saturday: first the weekdays with less than half of the average,
-- then the weekend.
-- Parameters: organization_id; first_day, since, until (date): the first day of the histories, the first evaluated day, and the
-- day after the last; weeks: of history for the days of rest; max_rest_days; min_tokens: per day; max_agents.
--
-- pages: 4000000, the days of each of ten thousand agents
-- fleet-pages: 25000
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
    -- "offset 0" makes the planner read only these few days. It expects many days and would read all history.
    cross join lateral (select %(since)s::date + later.days as day offset 0) as calendar
    join rest_days on rest_days.dow = extract(dow from calendar.day)
    cross join lateral (
        select usage.agent_id, sum(usage.tokens) as tokens
        from agent_usage_daily as usage
        where usage.organization_id = %(organization_id)s and usage.day = calendar.day
        group by usage.agent_id having sum(usage.tokens) >= %(min_tokens)s::integer
    ) as counted
),
-- Leaves out most agents, because they usually work on that weekday: they had over half as many tokens in both previous weeks.
unusual as materialized (
    select at_work.agent_id, max(at_work.tokens) as tokens
    from at_work
    cross join lateral (
        select count(*) as weeks
        from (values (7), (14)) as before (days)
        cross join lateral (select at_work.day - before.days as day offset 0) as calendar
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
select
    agents.agent_id, agents.name as agent_name,
    json_agg(json_build_array(calendar.day - %(first_day)s::date, usage.tokens_by_hour) order by calendar.day, usage.slot) as history
from unusual
join agents
    on agents.organization_id = %(organization_id)s and agents.agent_id = unusual.agent_id
cross join generate_series(0, %(until)s::date - %(first_day)s::date - 1) as later (days)
cross join lateral (select %(first_day)s::date + later.days as day offset 0) as calendar
cross join lateral (
    select counted.slot, counted.tokens_by_hour
    from agent_usage_daily as counted
    where counted.organization_id = %(organization_id)s and counted.day = calendar.day
        and counted.agent_id = unusual.agent_id
    offset 0
) as usage
group by agents.agent_id, agents.name
union all
select null, null, json_agg(rest_days.dow order by rest_days.dow)
from rest_days where exists (select from unusual) having count(*) > 0
order by agent_id
