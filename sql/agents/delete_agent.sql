-- Marks an agent as deleted, revokes its credentials and deletes people's grants to it. The agent's row stays, so that its usage
-- can still be shown. Returns the row, or no row if the agent is already deleted or does not exist.
-- Parameters: organization_id; agent_id; at (timestamptz).
--
-- max-pages-read: 3000, for the grants of the agent
with revoked as (
    update credentials
    set revoked_at = %(at)s
    where organization_id = %(organization_id)s and agent_id = %(agent_id)s and revoked_at is null
),
ended as (
    delete from grants
    where
        organization_id = %(organization_id)s and agent_id = %(agent_id)s
        -- This condition is always true. The planner uses a partial index only if the statement repeats the index's condition.
        and agent_id >= nil_uuid()
)
update agents
set deleted_at = %(at)s, updated_at = %(at)s
where organization_id = %(organization_id)s and agent_id = %(agent_id)s and is_not_deleted(deleted_at)
returning {agent}
