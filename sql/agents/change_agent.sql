-- Changes an agent. Returns the agent's row, or no row if the agent is deleted or does not exist.
-- Parameters: organization_id; agent_id; name; description; owner; scopes (text[]); status; dpop_bound_access_tokens;
-- expected_replicas (or null); redirect_uris (text[]); at (timestamptz).
--
-- example: name=new; status=active; scopes={analytics:read}
update agents
set
    name = %(name)s,
    description = %(description)s,
    owner = %(owner)s,
    scopes = %(scopes)s::text[],
    status = %(status)s,
    dpop_bound_access_tokens = %(dpop_bound_access_tokens)s,
    expected_replicas = %(expected_replicas)s,
    redirect_uris = %(redirect_uris)s::text[],
    updated_at = %(at)s
where organization_id = %(organization_id)s and agent_id = %(agent_id)s and is_not_deleted(deleted_at)
returning {agent}
