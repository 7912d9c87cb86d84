-- Locks an agent until the transaction ends. Returns the agent's row, or no row if the agent is deleted or does not exist.
-- Parameters: organization_id; agent_id.
select {agent}
from agents
where organization_id = %(organization_id)s and agent_id = %(agent_id)s and is_not_deleted(deleted_at)
for update
