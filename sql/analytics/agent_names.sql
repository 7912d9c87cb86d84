-- Returns the names of an organization's agents, including deleted agents, one row per agent: agent_id, name.
-- Parameters: organization_id.
--
-- pages: 1000, for ten thousand agents
-- fleet-pages: 500
select agent_id, name
from agents
where organization_id = %(organization_id)s
