-- Locks an agent until the transaction ends. One row, or none where it is deleted or not there.
-- Parameters: organization_id; agent_id.
select agent_id
from agents
where
    organization_id = %(organization_id)s
    and agent_id = %(agent_id)s
    -- Not deleted, in terms that leave the planner no index but the key.
    and coalesce(deleted_at, 'infinity') = 'infinity'
for update
