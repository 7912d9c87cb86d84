-- Authenticates a client, grants the scope for a resource and counts the token issued at "at", all or nothing.
--
-- No row if the authentication fails. Otherwise one row:
-- scope: the granted scopes, separated by spaces; null if no token is issued or counted. The reason is the first that applies: the
-- resource does not exist (is_target_known is false), the token must be bound to a key (is_proof_missing is true), the agent lacks
-- a requested scope for the resource, or a quota refuses the token;
-- quotas: the quotas that apply, as in the column quotas of the function apply_quotas; exhausted: the holder and the window of
-- the exhausted quota, separated by a space; both null if there is none;
-- audience, token_ttl and subject_form (the form of sub): the settings of the resource server; null for our own API, and for each
-- setting that the resource server does not have.
--
-- Parameters: organization_id; agent_id; at (timestamptz); day and hour: of "at" in UTC;
-- secret_hash: null if a key or a rule of trust has verified the client's token;
-- key_or_rule (jsonb): the key, alone in an array, or the rule of trust, an object; '["none"]' for a public client; null for a
-- secret. One of the client's credentials must have the key or the rule;
-- digest and expires_at: of the assertion's identifier, or null. The identifier of an authentic client is consumed; a second
-- use is a unique violation, which rolls back everything;
-- scope (text[]): null for all scopes of the agent at the resource;
-- own_scopes (text[]): the scopes of our own API;
-- resource: the identifier of the organization's resource server, or null for our own API. The organization must own the
-- identifier or, if tokens for the resource server have another audience, the identifier that this audience requires
-- (audience_claim);
-- has_proof: whether the token will be bound to a key;
-- is_counted: false for a sign-in to the dashboard, which no quota refuses and no counter counts;
-- durable: false lets the commit be acknowledged before it is on disk.
--
-- max-pages-read: 500, because one call in 16 deletes up to 64 expired identifiers, each by its primary key
select is_target_known, is_proof_missing, scope, quotas, exhausted, audience, token_ttl, subject as subject_form
from issue_token(
    -- Citus runs the function on the worker with the organization's rows only if the argument has the collation "C", like the
    -- column organization_id.
    p_organization_id => %(organization_id)s::text collate "C", p_agent_id => %(agent_id)s::uuid,
    p_at => %(at)s::timestamptz, p_day => %(day)s::date, p_hour => %(hour)s::integer,
    p_secret_hash => %(secret_hash)s::bytea,
    p_key_or_rule => %(key_or_rule)s::jsonb, p_digest => %(digest)s::bytea, p_expires_at => %(expires_at)s::timestamptz,
    p_scope => %(scope)s::text[], p_own_scopes => %(own_scopes)s::text[], p_resource => %(resource)s::text,
    p_has_proof => %(has_proof)s::boolean, p_authenticates_only => false, p_is_counted => %(is_counted)s::boolean,
    p_durable => %(durable)s::boolean
)
