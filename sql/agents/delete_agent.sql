-- Deletes an agent and revokes its credentials. The agent's row stays for its history. Returns the agent's row, or no row if the
-- agent does not exist. Parameters: organization_id; agent_id; at (timestamptz).
with revoked as (
    update credentials
    set revoked_at = %(at)s
    where organization_id = %(organization_id)s and agent_id = %(agent_id)s and revoked_at is null
)
update agents
set deleted_at = %(at)s, updated_at = %(at)s
where organization_id = %(organization_id)s and agent_id = %(agent_id)s and is_not_deleted(deleted_at)
returning {agent}
