-- Returns the agents of an organization with a given name, one row per agent, oldest first, at most 1000: agent_id, name.
-- Parameters: organization_id; name: null for any name; is_deleted (boolean): true returns only deleted agents, which keep their
-- names; false returns only the other agents.
--
-- max-pages-read: 1000, for the agents of the organization
-- example: name=null; is_deleted=false
select agent_id, name
from agents
where
    organization_id = %(organization_id)s
    and (%(name)s::text is null or name = %(name)s::text)
    and (deleted_at is not null) = %(is_deleted)s::boolean
order by created_at, agent_id
limit 1000
