-- An agent's usage in each UTC hour of a day. One row an hour with usage, in order, each with the agent's name and when it
-- was created; one row without an hour if there is none; no row if the organization has no such agent.
-- Parameters: organization_id; agent_id; on_day: the day.
select
    agents.name as agent_name,
    agents.created_at,
    used.on_day,
    used.at_hour,
    used.tokens,
    used.requests,
    used.rejected
from agents
left join lateral (
    select
        usage.day as on_day,
        (cell.ordinal - 1)::integer as at_hour,
        sum(cell.tokens)::bigint as tokens,
        sum(cell.requests)::bigint as requests,
        sum(cell.rejected)::bigint as rejected
    from agent_usage_daily as usage
    cross join lateral unnest(usage.tokens_by_hour, usage.requests_by_hour, usage.rejected_by_hour)
        with ordinality as cell (tokens, requests, rejected, ordinal)
    where
        usage.organization_id = %(organization_id)s
        and usage.day = %(on_day)s::date
        and usage.agent_id = %(agent_id)s
    group by usage.day, cell.ordinal
    having sum(cell.tokens) + sum(cell.requests) + sum(cell.rejected) > 0
) as used on true
where
    agents.organization_id = %(organization_id)s
    and agents.agent_id = %(agent_id)s
order by used.at_hour
