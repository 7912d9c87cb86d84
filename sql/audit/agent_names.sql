-- The names of agents, deleted ones included. One row per agent: agent_id, name.
-- Parameters: organization_id; agent_ids (uuid[]); at is not used.
select agent_id, name
from agents
where
    organization_id = %(organization_id)s
    and agent_id = any (%(agent_ids)s::uuid[])
