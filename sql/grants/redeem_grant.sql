-- Issues a token at "at" for the code or the refresh token of a grant, as oauth/exchange_token does for a subject token, and replaces
-- the code or refresh token by the next refresh token, all or nothing.
--
-- No row if the authentication fails. Otherwise one row: refusal: the reason why the code or refresh token is not acceptable, in
-- the words of the log, or null; the columns of oauth/exchange_token; and columns of the grant: resource, delegation_rule_id, and,
-- null if no token is issued, issuer, subject_encrypted, and ends_at: the instant at which the grant ends.
--
-- Parameters: organization_id, agent_id, at, day, hour, secret_hash, jwk, digest, expires_at, durable: as in oauth/issue_access_token;
-- jwk is '["none"]' for a public client;
-- scope: null for all scopes of the grant that the agent and the resource server still have;
-- resource: null for that of the grant;
-- jkt: the thumbprint of the key to which the token will be bound, or null;
-- grant_id; token_digest: of the code or refresh token; next_digest: of the next refresh token;
-- challenge: the PKCE challenge of the verifier that came with a code, or null for a refresh token;
-- redirect_uri: that came with a code, or null, which is not compared.
--
-- pages: 500, one use in 16 deletes up to 64 expired identifiers, each by its key
select
    is_target_known, is_proof_missing, scope, quotas, exhausted, audience, token_ttl, subject, refusal,
    resource, issuer, delegation_rule_id, subject_encrypted, ends_at
from redeem_grant(
    -- On Citus, the function may read only rows with this organization_id. The argument needs the collation "C" of that column.
    p_organization_id => %(organization_id)s::text collate "C", p_agent_id => %(agent_id)s::uuid,
    p_at => %(at)s::timestamptz, p_day => %(day)s::date, p_hour => %(hour)s::integer,
    p_secret_hash => %(secret_hash)s::bytea,
    p_jwk => %(jwk)s::jsonb, p_digest => %(digest)s::bytea, p_expires_at => %(expires_at)s::timestamptz,
    p_scope => %(scope)s::text[], p_resource => %(resource)s::text, p_jkt => %(jkt)s::text,
    p_grant_id => %(grant_id)s::uuid, p_token_digest => %(token_digest)s::bytea, p_next_digest => %(next_digest)s::bytea,
    p_challenge => %(challenge)s::text, p_redirect_uri => %(redirect_uri)s::text, p_durable => %(durable)s::boolean
)
