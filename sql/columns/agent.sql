-- The columns of an agent that statements return. A statement includes this list as {agent}.
agent_id, name, description, scopes, status, dpop_bound_access_tokens, created_at, updated_at, owner, expected_replicas,
provisioned, redirect_uris, tokens_not_before, client_uri, document_fresh_until
