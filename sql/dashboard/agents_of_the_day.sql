-- Returns the agents with usage on a UTC day or in one of its hours, one row per agent, most tokens first, then most requests, then
-- by id: agent_id, name, tokens, requests, rejected; agents: the number of all agents with usage, the same in each row.
-- Parameters: organization_id; on_day: the day; at_hour: the hour, 0 to 23, or null for the whole day; by_rejected: whether the
-- agents with most rejected requests are first; limit: the maximum number of rows, null for all.
--
-- max-pages-read: 2000, a day's rows of all agents
-- max-pages-read-with-1000-agents: 300
-- example: on_day=2026-04-15; at_hour=null; by_rejected=true; limit=50
-- example: on_day=2026-04-15; at_hour=9; by_rejected=false; limit=50
with counted as (
    select
        usage.agent_id,
        case when %(at_hour)s::integer is null then usage.tokens
            else usage.tokens_by_hour[%(at_hour)s::integer + 1] end as tokens,
        case when %(at_hour)s::integer is null then usage.requests
            else usage.requests_by_hour[%(at_hour)s::integer + 1] end as requests,
        case when %(at_hour)s::integer is null then usage.rejected
            else usage.rejected_by_hour[%(at_hour)s::integer + 1] end as rejected
    from agent_usage_daily as usage
    where usage.organization_id = %(organization_id)s and usage.day = %(on_day)s::date
),
by_agent as (
    select
        counted.agent_id,
        sum(counted.tokens)::bigint as tokens,
        sum(counted.requests)::bigint as requests,
        sum(counted.rejected)::bigint as rejected
    from counted
    group by counted.agent_id
    having sum(counted.tokens) + sum(counted.requests) + sum(counted.rejected) > 0
),
listed as (
    select
        by_agent.*,
        case when %(by_rejected)s::boolean then by_agent.rejected else 0 end as urgency,
        count(*) over () as agents
    from by_agent
    order by urgency desc, by_agent.tokens desc, by_agent.requests desc, by_agent.agent_id
    limit %(limit)s::bigint
)
select listed.agent_id, agents.name, listed.tokens, listed.requests, listed.rejected, listed.agents
from listed
-- "offset 0" makes the planner look up each agent by its key, even if the planner expects many rows.
cross join lateral (
    select name from agents where organization_id = %(organization_id)s and agent_id = listed.agent_id offset 0
) as agents
order by listed.urgency desc, listed.tokens desc, listed.requests desc, listed.agent_id
