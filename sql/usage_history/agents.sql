-- Returns the agents of an organization, including deleted agents, one row per agent. Parameters: organization_id.
--
-- for: operator
select agent_id, name, deleted_at is not null as is_deleted
from agents
where organization_id = %(organization_id)s
