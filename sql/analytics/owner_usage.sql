-- Returns the tokens in a period per owner of agents, including deleted agents, one row per owner with at least one token, most
-- tokens first: owner; agents: the number of the owner's agents with tokens; tokens. The last row has an empty owner, and is for
-- agents without an owner.
-- Parameters: organization_id; first and last: the first and the last day of the period.
--
-- max-pages-read: 45000, for the period's rows of all agents, and the owner of each agent
-- max-pages-read-with-1000-agents: 16000
with counted as materialized (
    select agent_id, sum(tokens)::bigint as tokens
    from agent_usage_daily
    where organization_id = %(organization_id)s and day >= %(first)s::date and day < %(last)s::date + 1
    group by agent_id
    having sum(tokens) > 0
)
select owners.owner, count(*)::integer as agents, sum(counted.tokens)::bigint as tokens
from counted
-- This lateral join looks up each agent by its key. For a plain join, a planner that expects few agents would choose a plan that
-- takes quadratic time.
cross join lateral (
    select agents.owner
    from agents
    where agents.organization_id = %(organization_id)s and agents.agent_id = counted.agent_id
    offset 0
) as owners
group by owners.owner
order by owners.owner = '', tokens desc, owners.owner collate "C"
