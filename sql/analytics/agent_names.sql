-- Returns the names of an organization's agents, including deleted agents, one row per agent: agent_id, name.
-- Parameters: organization_id.
--
-- max-pages-read: 1000, for ten thousand agents
-- max-pages-read-with-1000-agents: 500
select agent_id, name
from agents
where organization_id = %(organization_id)s
