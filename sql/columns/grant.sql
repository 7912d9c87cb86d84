-- The columns of a grant that statements return. A statement has {grant} in place of this list.
grant_id, agent_id, delegation_rule_id, issuer, subject, resource, scopes, created_at, last_used_at, expires_at
