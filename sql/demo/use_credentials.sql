-- Notes when the credentials of agents that are not revoked were used last. Returns no row.
-- Parameters: organization_id; agent_ids (uuid[]); used_at (timestamptz[]), one for each of them.
--
-- for: operator
update credentials
set last_used_at = used.used_at
from unnest(%(agent_ids)s::uuid[], %(used_at)s::timestamptz[]) as used (agent_id, used_at)
where
    credentials.organization_id = %(organization_id)s
    and credentials.agent_id = used.agent_id
    and credentials.revoked_at is null
