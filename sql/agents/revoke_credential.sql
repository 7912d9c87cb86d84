-- Revokes a credential. Returns the credential's row, or no row if the agent has no such credential or it is revoked already.
-- Parameters: organization_id; agent_id; credential_id; at (timestamptz).
update credentials
set revoked_at = %(at)s
where
    organization_id = %(organization_id)s
    and agent_id = %(agent_id)s
    and credential_id = %(credential_id)s
    and revoked_at is null
returning credential_id, label, jwks, trust, created_at, expires_at, last_used_at
