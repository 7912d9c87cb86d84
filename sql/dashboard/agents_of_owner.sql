-- Returns the agents of an owner, including deleted agents, one row per agent: agent_id.
-- Parameters: organization_id; owner.
--
-- example: owner=
-- max-pages-read: 1500, the organization's agents
-- max-pages-read-with-1000-agents: 1500
select agent_id
from agents
where organization_id = %(organization_id)s and owner = %(owner)s
