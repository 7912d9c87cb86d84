-- One agent of an organization. One row, or none if it is deleted or does not exist.
-- Parameters: organization_id; agent_id; at is not used.
select {agent}
from agents
where
    organization_id = %(organization_id)s
    and agent_id = %(agent_id)s
    -- Not deleted, written so that the planner can use only the primary key.
    and coalesce(deleted_at, 'infinity') = 'infinity'
