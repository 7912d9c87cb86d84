-- Which ids are no agents of the organization, or those of deleted ones. One row per id: agent_id.
-- Parameters: organization_id; agent_ids (uuid[]).
select wanted.agent_id
from unnest(%(agent_ids)s::uuid[]) as wanted (agent_id)
where not exists (
    select
    from agents
    where
        agents.organization_id = %(organization_id)s
        and agents.agent_id = wanted.agent_id
        -- Not deleted, written so that the planner can use only the primary key.
        and coalesce(agents.deleted_at, 'infinity') = 'infinity'
)
