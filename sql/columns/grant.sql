-- The columns of a grant that statements return. A statement includes this list as {grant}.
grant_id, agent_id, delegation_rule_id, issuer, subject, resource, scopes, created_at, last_used_at, expires_at
