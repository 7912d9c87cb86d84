-- Returns an agent's usage per UTC hour of a period, one row per hour with usage, oldest first. Each row also has the agent's
-- name and the instant of its creation. If there is no usage, one row has null as its hour. Returns no row if the organization
-- has no such agent.
-- Parameters: organization_id; agent_id; first and last: the first and the last day of the period. The statement looks up each
-- day by its key, because reading a range of days would read the rows of all agents.
--
-- max-pages-read: 500, for one look-up per day
-- max-pages-read-with-1000-agents: 500
select
    agents.name as agent_name, agents.created_at, used.on_day, used.at_hour, used.tokens, used.requests, used.rejected
from agents
left join lateral (
    select
        calendar.day as on_day,
        (cell.ordinal - 1)::integer as at_hour,
        sum(cell.tokens)::bigint as tokens,
        sum(cell.requests)::bigint as requests,
        sum(cell.rejected)::bigint as rejected
    from generate_series(0, %(last)s::date - %(first)s::date) as since (days)
    cross join lateral (select %(first)s::date + since.days as day offset 0) as calendar
    cross join lateral (
        select counted.tokens_by_hour, counted.requests_by_hour, counted.rejected_by_hour
        from agent_usage_daily as counted
        where
            counted.organization_id = %(organization_id)s
            and counted.day = calendar.day
            and counted.agent_id = %(agent_id)s
        offset 0
    ) as usage
    cross join lateral unnest(usage.tokens_by_hour, usage.requests_by_hour, usage.rejected_by_hour)
        with ordinality as cell (tokens, requests, rejected, ordinal)
    group by calendar.day, cell.ordinal
    having sum(cell.tokens) + sum(cell.requests) + sum(cell.rejected) > 0
) as used on true
where agents.organization_id = %(organization_id)s and agents.agent_id = %(agent_id)s
order by used.on_day, used.at_hour
