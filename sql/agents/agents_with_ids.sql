-- Returns the agents of an organization that have one of the given ids, one row per agent that is not deleted: agent_id.
-- Parameters: organization_id; agent_ids (uuid[]).
select agents.agent_id
from unnest(%(agent_ids)s::uuid[]) as requested_agents (agent_id)
-- This lateral join looks up each agent by the primary key, because a plain join that was planned on an empty table would read
-- all agents.
cross join lateral (
    select agents.agent_id
    from agents
    where
        agents.organization_id = %(organization_id)s
        and agents.agent_id = requested_agents.agent_id
        and is_not_deleted(agents.deleted_at)
    offset 0
) as agents
