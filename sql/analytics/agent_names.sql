-- The names of an organization's agents, deleted ones too. One row an agent: agent_id, name.
-- Parameters: organization_id.
--
-- pages: 1000, ten thousand agents
-- fleet-pages: 500
select agent_id, name
from agents
where organization_id = %(organization_id)s
