-- One agent of an organization. One row, or none where it is deleted or not there.
-- Parameters: organization_id; agent_id; at is not used.
select agent_id, name, description, scopes, status, dpop_bound_access_tokens, created_at, updated_at
from agents
where
    organization_id = %(organization_id)s
    and agent_id = %(agent_id)s
    -- Not deleted, in terms that leave the planner no index but the key.
    and coalesce(deleted_at, 'infinity') = 'infinity'
