-- Returns the hourly requests of the agents that may have stopped, and of a sample of all active agents. One row per agent:
-- agent_id, agent_name; is_sampled: whether the agent is in the sample; history (json): an array with one item per counter row,
-- [days since first_day, the 24 hourly counts of requests].
-- An agent may have stopped if it has made no request for quiet_hours. An agent with fewer than round_the_clock active hours on
-- its last two days must also have made no request for quiet_days.
-- Parameters: organization_id; first_day (date): the first day of the histories; until (date): the day after today; recent_since
-- (date): agents whose last request is older are left out; hour (integer): the current hour; quiet_hours, quiet_days,
-- round_the_clock; max_sampled: the maximum number of agents in the sample; max_agents: the maximum number of agents that may
-- have stopped.
--
-- max-pages-read: 350000, for the days of ten thousand agents
-- max-pages-read-with-1000-agents: 28000
with recent_agents as materialized (
    select
        usage.agent_id,
        max(usage.day) as last_day,
        bool_or(
            usage.day = %(until)s::date - 1
            and 0 < any (
                usage.requests_by_hour[%(hour)s::integer + 1 - %(quiet_hours)s::integer : %(hour)s::integer + 1]
            )
        ) as is_recent
    from agent_usage_daily as usage
    where
        usage.organization_id = %(organization_id)s and usage.day >= %(recent_since)s::date
        and usage.day < %(until)s::date
        and usage.requests > 0
    group by usage.agent_id
),
active as materialized (
    select recent_agents.*
    from recent_agents
    -- "offset 0" makes the planner look up each agent by its key. Otherwise it would read all agents.
    cross join lateral (
        select
        from agents
        where
            organization_id = %(organization_id)s and agent_id = recent_agents.agent_id
            -- coalesce() selects agents that are not deleted. "deleted_at is null" might prevent the use of the primary key.
            and status = 'active' and coalesce(deleted_at, 'infinity') = 'infinity'
        offset 0
    ) as registered
),
-- "offset 0" in these joins makes the planner look up each day of each agent. Otherwise it would expect many agents, and read the
-- days of all agents.
last_days as materialized (
    select active.agent_id, active.last_day, last_hours.number, last_hours.last_hour
    from active
    cross join lateral (select array[active.last_day, active.last_day - 1] as days offset 0) as last
    cross join lateral (
        select
            count(distinct (usage.day, cell.place)) as number,
            max(cell.place) filter (where usage.day = active.last_day) - 1 as last_hour
        from agent_usage_daily as usage
        cross join lateral unnest(usage.requests_by_hour) with ordinality as cell (requests, place)
        where
            usage.organization_id = %(organization_id)s and usage.day = any (last.days)
            and usage.agent_id = active.agent_id and cell.requests > 0
    ) as last_hours
    where not active.is_recent
),
stopped as materialized (
    select agent_id
    from last_days
    where 24 * (%(until)s::date - 1 - last_day) + %(hour)s::integer - last_hour > %(quiet_hours)s::integer
        and (number >= %(round_the_clock)s::integer or last_day < %(until)s::date - %(quiet_days)s::integer)
    order by number >= %(round_the_clock)s::integer desc, last_day desc, agent_id
    limit %(max_agents)s::integer
),
sampled as materialized (
    select agent_id from active order by agent_id limit %(max_sampled)s::integer
)
select
    selected.agent_id,
    agents.name as agent_name,
    selected.agent_id in (select agent_id from sampled) as is_sampled,
    json_agg(json_build_array(calendar.day - %(first_day)s::date, usage.requests_by_hour) order by calendar.day, usage.slot) as history
from (select agent_id from stopped union select agent_id from sampled) as selected
cross join lateral (
    select name from agents where organization_id = %(organization_id)s and agent_id = selected.agent_id offset 0
) as agents
cross join generate_series(0, %(until)s::date - %(first_day)s::date - 1) as later (days)
cross join lateral (select %(first_day)s::date + later.days as day offset 0) as calendar
cross join lateral (
    select counted.slot, counted.requests_by_hour
    from agent_usage_daily as counted
    where counted.organization_id = %(organization_id)s and counted.day = calendar.day
        and counted.agent_id = selected.agent_id
    offset 0
) as usage
group by selected.agent_id, agents.name
order by selected.agent_id
