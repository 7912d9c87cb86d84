-- Returns the grants of a person to an agent that have not expired, oldest first. One row per grant: its columns.
-- Parameters: organization_id; subject; agent_id; at (timestamptz).
--
-- example: subject=x
select {grant}
from grants
where
    organization_id = %(organization_id)s and subject = %(subject)s and agent_id = %(agent_id)s::uuid
    and expires_at > %(at)s
    -- This condition is always true. The planner uses a partial index only if the statement repeats the index's condition.
    and expires_at > '-infinity'
order by created_at, grant_id
