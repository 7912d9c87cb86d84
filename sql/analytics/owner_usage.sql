-- Returns tokens in a period by owner of the agents, including deleted agents, one row per owner with at least one token:
-- owner, empty for agents without one, which is the last row; agents: the number of agents with tokens; tokens. Sorted by
-- tokens (most first) and then by owner.
-- Parameters: organization_id; first; last: the first and the last day.
--
-- pages: 45000, the period's rows of all agents, and a look-up for each agent
-- fleet-pages: 16000
with counted as materialized (
    select agent_id, sum(tokens)::bigint as tokens
    from agent_usage_daily
    where organization_id = %(organization_id)s and day >= %(first)s::date and day < %(last)s::date + 1
    group by agent_id
    having sum(tokens) > 0
)
select known.owner, count(*)::integer as agents, sum(counted.tokens)::bigint as tokens
from counted
-- Looks up each agent, because a join takes quadratic time if the planner expects few agents.
cross join lateral (
    select agents.owner
    from agents
    where agents.organization_id = %(organization_id)s and agents.agent_id = counted.agent_id
    offset 0
) as known
group by known.owner
order by known.owner = '', tokens desc, known.owner collate "C"
