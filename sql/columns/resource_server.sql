-- The columns of a resource server that statements return. A statement includes this list as {resource_server}.
resource_server_id, resource, name, scopes, created_at, token_per_call, audience, token_ttl, token_ttl_changed_at, subject,
agent_id
