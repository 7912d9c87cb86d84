-- Deletes an agent and revokes its credentials; the row stays for its history. One row, or none where it was not
-- there. Parameters: organization_id; agent_id; at (timestamptz).
with revoked as (
    update credentials
    set revoked_at = %(at)s
    where
        organization_id = %(organization_id)s
        and agent_id = %(agent_id)s
        and revoked_at is null
)
update agents
set deleted_at = %(at)s, updated_at = %(at)s
where
    organization_id = %(organization_id)s
    and agent_id = %(agent_id)s
    -- Not deleted, in terms that leave the planner no index but the key.
    and coalesce(deleted_at, 'infinity') = 'infinity'
returning agent_id
