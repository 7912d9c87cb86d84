-- The agents of an organization that have one of some scopes. One row an agent, by name: agent_id, name, status, scopes (all
-- that it has), and in each row matches, how many agents there are.
-- Parameters: organization_id; scopes (text[]); limit; at is not used.
--
-- pages: 1000, all agents
-- example: scopes={analytics:read}; limit=50
select agents.agent_id, agents.name, agents.status, agents.scopes, count(*) over () as matches
from agents
where agents.organization_id = %(organization_id)s and agents.deleted_at is null and agents.scopes && %(scopes)s::text[]
order by lower(agents.name), agents.agent_id
limit %(limit)s
