-- Creates a credential of an agent. Returns the credential's row, or no row if the agent has the maximum number of credentials.
-- Parameters: organization_id; agent_id; credential_id; exactly one of secret_hash (32 bytes), jwks and trust (JSON text), the
-- others null; trust_selector (uuid): the digest by which the rule of trust is found, null if trust is null; label (or null);
-- expires_at (timestamptz or null); at (timestamptz); max_credentials.
--
-- example: credential_id=0a1b2c3d-0000-4000-8000-000000000001; label=null; jwks=null; trust=null; trust_selector=null
insert into credentials (
    organization_id, agent_id, credential_id, secret_hash, jwks, trust, trust_selector, trust_length, label, created_at, expires_at
)
select
    %(organization_id)s, %(agent_id)s::uuid, %(credential_id)s::uuid, %(secret_hash)s::bytea, %(jwks)s::jsonb,
    %(trust)s::jsonb, %(trust_selector)s::uuid, length((%(trust)s::jsonb)::text), %(label)s::text, %(at)s::timestamptz, %(expires_at)s::timestamptz
where (
    select count(*)
    from credentials
    where organization_id = %(organization_id)s and agent_id = %(agent_id)s and revoked_at is null
) < %(max_credentials)s
returning credential_id, label, jwks, trust, created_at, expires_at, last_used_at
