-- Returns the names and owners of agents, including deleted agents, one row per agent: agent_id, name, owner.
-- Parameters: organization_id; agent_ids (uuid[]).
select named.agent_id, named.name, named.owner
from unnest(%(agent_ids)s::uuid[]) as requested_agents (agent_id)
-- This lateral join looks up each agent by the primary key, because a plain join that was planned on an empty table would read
-- all agents.
cross join lateral (
    select agents.agent_id, agents.name, agents.owner
    from agents
    where agents.organization_id = %(organization_id)s and agents.agent_id = requested_agents.agent_id
    offset 0
) as named
