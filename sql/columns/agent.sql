-- What statements return of an agent: they have {agent} in place of this list.
agent_id, name, description, scopes, status, dpop_bound_access_tokens, created_at, updated_at, owner, expected_replicas,
provisioned
