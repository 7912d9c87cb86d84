-- Authenticates a client, as oauth/issue_access_token does, and returns whether a verified token of its organization is active.
--
-- No row if the authentication fails. Otherwise one row: scopes: the scopes of the client's agent; is_active: whether the token's
-- agent is active, the token is neither revoked nor ended, and its audience is our own API or that of a resource server whose
-- identifier the organization owns.
--
-- Parameters: organization_id; agent_id; at (timestamptz); secret_hash, key_or_rule, digest and expires_at: as in
-- oauth/issue_access_token;
-- token_agent_id, jti, issued_at (timestamptz), audience: of the token, all null if there is no token;
-- own_resource: our own API;
-- delegation_agent_ids (uuid[]), delegation_jtis (text[]), delegation_audiences (text[]), delegation_rule_id: of a token from an
-- exchange, or null for any other token: the agents and the rule as in oauth/exchange_token, and the jti and aud of each token
-- that was exchanged. A token from an exchange is active only while its subject and actors are active, its rule exists,
-- and the exchanged tokens and their audiences are valid;
-- durable: false lets the commit be acknowledged before it is on disk.
--
-- max-pages-read: 500, because one call in 16 deletes up to 64 expired identifiers, each by its primary key
select scopes, is_active
from inspect_token(
    -- Citus runs the function on the worker with the organization's rows only if the argument has the collation "C", like the
    -- column organization_id.
    p_organization_id => %(organization_id)s::text collate "C",
    p_agent_id => %(agent_id)s::uuid,
    p_at => %(at)s::timestamptz,
    p_secret_hash => %(secret_hash)s::bytea,
    p_jwk => %(key_or_rule)s::jsonb,
    p_digest => %(digest)s::bytea,
    p_expires_at => %(expires_at)s::timestamptz,
    p_token_agent_id => %(token_agent_id)s::uuid,
    p_jti => %(jti)s::text,
    p_issued_at => %(issued_at)s::timestamptz,
    p_audience => %(audience)s::text,
    p_own_resource => %(own_resource)s::text,
    p_delegation_agent_ids => %(delegation_agent_ids)s::uuid[],
    p_delegation_jtis => %(delegation_jtis)s::text[],
    p_delegation_audiences => %(delegation_audiences)s::text[],
    p_delegation_rule_id => %(delegation_rule_id)s::uuid,
    p_durable => %(durable)s::boolean
)
