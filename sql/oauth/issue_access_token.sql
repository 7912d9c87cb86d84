-- Authenticates a client, grants the scope for a resource and counts the token issued at "at", all or nothing.
-- No row for any failed authentication. Otherwise one row: scope is what is granted, space-separated, and null if
-- nothing was issued and counted, because is_target_known is false (no such resource), is_proof_missing is true (the
-- agent's tokens must be bound to a key), the agent lacks a requested scope for the resource, or a quota refuses the token;
-- quotas and exhausted: the quotas that apply, and the one of which nothing was left, as check_quotas returns them;
-- audience, token_ttl and subject: what the resource server says of its tokens; null if it says nothing, or for our own API.
-- Parameters: organization_id; agent_id; at (timestamptz); day and hour: of "at" in UTC;
-- secret_hash, or null if a key or a rule of trust authenticated: then jwk is that key, alone in an array (jsonb), or that
-- rule (jsonb), which one of the client's credentials must hold; digest and expires_at: of the assertion's identifier, or null: it is consumed if the client is
-- authentic, and a second use is a unique violation, which undoes everything;
-- scope (text[], null: all that the agent has for the resource);
-- own_scopes (text[]): those of our own API;
-- resource: of a resource server of the organization, which must hold this identifier, or the audience that the resource
-- server names instead, or null for our own API;
-- has_proof: whether the token will be bound to a key;
-- is_counted: false for a sign-in to the dashboard, which is no token: no quota refuses it, and nothing is counted;
-- durable: false lets the commit be acknowledged before it is on disk.
--
-- pages: 500, one use in 16 deletes up to 64 expired identifiers, each by its key
select is_target_known, is_proof_missing, scope, quotas, exhausted, audience, token_ttl, subject
from issue_token(
    -- On Citus, a function may read the rows of this very value only, which must have the column's collation.
    p_organization_id => %(organization_id)s::text collate "C",
    p_agent_id => %(agent_id)s::uuid,
    p_at => %(at)s::timestamptz,
    p_day => %(day)s::date,
    p_hour => %(hour)s::integer,
    p_secret_hash => %(secret_hash)s::bytea,
    p_jwk => %(jwk)s::jsonb,
    p_digest => %(digest)s::bytea,
    p_expires_at => %(expires_at)s::timestamptz,
    p_scope => %(scope)s::text[],
    p_own_scopes => %(own_scopes)s::text[],
    p_resource => %(resource)s::text,
    p_has_proof => %(has_proof)s::boolean,
    p_is_counted => %(is_counted)s::boolean,
    p_durable => %(durable)s::boolean
)
