-- A page of an organization's agents. One row per agent that is not deleted, oldest first.
-- Parameters: organization_id; after_at (timestamptz), after_id: the last row of the page before, or null; limit;
-- at is not used.
select agent_id, name, description, scopes, status, dpop_bound_access_tokens, created_at, updated_at
from agents
where
    organization_id = %(organization_id)s
    and deleted_at is null
    and (
        %(after_at)s::timestamptz is null
        or (created_at, agent_id) > (%(after_at)s::timestamptz, %(after_id)s::uuid)
    )
order by created_at, agent_id
limit %(limit)s
