-- Changes an agent; null leaves a column as it is. Returns its row, or none if it is deleted or does not exist.
-- Parameters: organization_id; agent_id; name; description; owner; scopes (text[]); status; dpop_bound_access_tokens;
-- expected_replicas: 0 removes it; at (timestamptz).
--
-- example: name=new; status=active
update agents
set
    name = coalesce(%(name)s::text, name),
    description = coalesce(%(description)s::text, description),
    owner = coalesce(%(owner)s::text, owner),
    scopes = coalesce(%(scopes)s::text[], scopes),
    status = coalesce(%(status)s::text, status),
    dpop_bound_access_tokens = coalesce(%(dpop_bound_access_tokens)s::boolean, dpop_bound_access_tokens),
    expected_replicas = nullif(coalesce(%(expected_replicas)s::integer, expected_replicas), 0),
    updated_at = %(at)s
where
    organization_id = %(organization_id)s
    and agent_id = %(agent_id)s
    -- Not deleted, written so that the planner can use only the primary key.
    and coalesce(deleted_at, 'infinity') = 'infinity'
returning {agent}
