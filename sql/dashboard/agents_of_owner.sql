-- Returns the agents of an owner, including deleted agents, one row per agent: agent_id.
-- Parameters: organization_id; owner.
--
-- example: owner=
-- pages: 1500, the organization's agents
-- fleet-pages: 1500
select agent_id
from agents
where organization_id = %(organization_id)s and owner = %(owner)s
