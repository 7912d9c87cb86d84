-- Returns the hourly counts of the agents with at least min_rejected rejected requests on an evaluated UTC day. One row per
-- agent: agent_id; agent_name (null: failed authentications that belong to no agent); is_active; history (json): an array with
-- one item per counter row, [days since first_day, the 24 hourly counts of rejected requests, the 24 hourly counts of tokens];
-- sources (json): an array of [days since first_day, network, reason, rejected requests], or null if no network is stored.
-- Parameters: organization_id; first_day (date): the first day of the histories; since and until (date): the first evaluated day,
-- and the day after the last; min_rejected; max_agents: the maximum number of agents; the agents with the most rejected requests
-- on a day are returned; sources_since (date): the first day of the sources.
--
-- max-pages-read: 60000, for the days of ten thousand agents
-- max-pages-read-with-1000-agents: 6000
with suspects as materialized (
    select daily.agent_id
    from (
        select usage.agent_id, sum(usage.rejected) as rejected
        from agent_usage_daily as usage
        where
            usage.organization_id = %(organization_id)s
            and usage.day >= %(since)s::date
            and usage.day < %(until)s::date
            and usage.rejected > 0
        group by usage.day, usage.agent_id
    ) as daily
    where daily.rejected >= %(min_rejected)s::integer
    group by daily.agent_id
    order by max(daily.rejected) desc, daily.agent_id
    limit %(max_agents)s::integer
)
select
    agents.agent_id,
    agents.name as agent_name,
    agents.status = 'active' and agents.deleted_at is null as is_active,
    json_agg(
        json_build_array(calendar.day - %(first_day)s::date, usage.rejected_by_hour, usage.tokens_by_hour)
        order by calendar.day, usage.slot
    ) as history,
    (
        select
            json_agg(json_build_array(source.day - %(first_day)s::date, source.network, source.reason, source.rejections)
                order by source.day, source.network, source.reason)
        from generate_series(0, %(until)s::date - %(sources_since)s::date - 1) as looked_at (days)
        cross join lateral (
            select day, network, reason, rejections
            from rejected_networks
            where
                organization_id = %(organization_id)s
                and day = %(sources_since)s::date + looked_at.days
                and agent_id = agents.agent_id
            offset 0
        ) as source
    ) as sources
from suspects
-- "offset 0" makes the planner look up each agent by its key. Otherwise it would read all agents.
cross join lateral (
    (
        select agent_id, name, status, deleted_at
        from agents
        where organization_id = %(organization_id)s and agent_id = suspects.agent_id
        offset 0
    )
    -- Failed authentications that belong to no agent are counted for the nil UUID.
    union all
    select suspects.agent_id, null, 'active', null
    where suspects.agent_id = '00000000-0000-0000-0000-000000000000'
) as agents
cross join generate_series(0, %(until)s::date - %(first_day)s::date - 1) as later (days)
-- "offset 0" makes the planner look up each day of each agent. Otherwise it would expect many agents, and read the days of all
-- agents.
cross join lateral (select %(first_day)s::date + later.days as day offset 0) as calendar
cross join lateral (
    select slot, tokens_by_hour, rejected_by_hour
    from agent_usage_daily
    where organization_id = %(organization_id)s and day = calendar.day and agent_id = suspects.agent_id
    offset 0
) as usage
group by agents.agent_id, agents.name, agents.status, agents.deleted_at
order by agents.agent_id
