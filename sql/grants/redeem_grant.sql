-- Redeems a grant's authorization code or refresh token: issues an access token, as oauth/exchange_token does for a subject token,
-- and replaces the code or refresh token by a new refresh token. If no access token is issued, nothing is replaced.
--
-- Returns no row if the client's authentication fails, except that a public client with a wrong code or refresh token gets a row
-- with refusal even if it is not authentic. Otherwise returns one row: the columns of oauth/exchange_token; refusal: the logged
-- reason why the code or refresh token is refused, or null; resource and delegation_rule_id of the grant; and, if a token is
-- issued, issuer and subject_encrypted of the grant, and ends_at: the instant at which the grant ends at the latest.
--
-- Parameters: organization_id, agent_id, at, day, hour, secret_hash, key_or_rule, digest, expires_at, durable: as in
-- oauth/issue_access_token; key_or_rule is '["none"]' for a public client;
-- scope: null for all scopes of the grant that the agent and the resource server still have;
-- resource: null for the grant's resource;
-- jkt: the thumbprint of the key to which the token will be bound, or null;
-- grant_id; token_digest: the digest of the code or refresh token; next_digest: the digest of the new refresh token;
-- challenge: the PKCE challenge for the verifier that the client has sent, or null for a refresh token;
-- redirect_uri: the URI that the client has sent, or null to compare no URI.
--
-- max-pages-read: 500, because one call in 16 deletes up to 64 expired identifiers, each by its primary key
select
    is_target_known, is_proof_missing, scope, quotas, exhausted, audience, token_ttl, subject as subject_form, refusal,
    resource, issuer, delegation_rule_id, subject_encrypted, ends_at
from redeem_grant(
    -- Citus runs the function on the worker with the organization's rows only if the argument has the collation "C", like the
    -- column organization_id.
    p_organization_id => %(organization_id)s::text collate "C", p_agent_id => %(agent_id)s::uuid,
    p_at => %(at)s::timestamptz, p_day => %(day)s::date, p_hour => %(hour)s::integer,
    p_secret_hash => %(secret_hash)s::bytea,
    p_jwk => %(key_or_rule)s::jsonb, p_digest => %(digest)s::bytea, p_expires_at => %(expires_at)s::timestamptz,
    p_scope => %(scope)s::text[], p_resource => %(resource)s::text, p_jkt => %(jkt)s::text,
    p_grant_id => %(grant_id)s::uuid, p_token_digest => %(token_digest)s::bytea, p_next_digest => %(next_digest)s::bytea,
    p_challenge => %(challenge)s::text, p_redirect_uri => %(redirect_uri)s::text, p_durable => %(durable)s::boolean
)
