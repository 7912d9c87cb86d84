-- Returns the agents of an organization that have at least one of several scopes, one row per agent, sorted by name: agent_id,
-- name, status, scopes: all scopes of the agent; matches: the number of all matching agents, the same in each row.
-- Parameters: organization_id; scopes (text[]); limit.
--
-- max-pages-read: 1000, all agents
-- example: scopes={analytics:read}; limit=50
select agents.agent_id, agents.name, agents.status, agents.scopes, count(*) over () as matches
from agents
where agents.organization_id = %(organization_id)s and agents.deleted_at is null and agents.scopes && %(scopes)s::text[]
order by lower(agents.name), agents.agent_id
limit %(limit)s
