-- Issues a token for an exchange (RFC 8693) at "at", as oauth/issue_access_token does, and counts the token for the subject too.
--
-- No row if the authentication fails. Otherwise one row: refusal: the logged reason why the subject's token is not acceptable, or
-- null; and the columns of oauth/issue_access_token. is_target_known is also false if the delegation rule does not have the
-- resource, or if the resource server is for a cloud such as AWS, because clouds do not support delegation. is_proof_missing is
-- also true if the subject's token is bound to a key and the new token would not be. scope contains only scopes that the subject
-- has (an agent's scopes, or the rule's scopes for the resource), and that each exchanged token for the resource had.
--
-- Parameters: organization_id, agent_id, at, day, hour, secret_hash, key_or_rule, digest, expires_at, has_proof, durable: as in
-- oauth/issue_access_token;
-- resource: never null;
-- scope: null for all scopes that agent and subject have in common at the resource;
-- subject_agent_id: the agent for which the client acts, or null for a subject of another issuer;
-- issuer and rule_id: for a subject of another issuer, the issuer and the rule that has accepted its token, otherwise null;
-- agent_ids (uuid[]): the client, the earlier actors and a subject that is an agent, each once;
-- issued_at (timestamptz[]): for each of these agents, the iat of the subject's token or actor's token that names the agent, the
-- earlier iat if both tokens name it, and null if neither does;
-- jtis (text[]): of the subject's token, of the tokens that were exchanged for it, and of the actor's token;
-- ancestors (jsonb): a list of the subject's token and the tokens exchanged for it, newest first, as objects with aud, scope and
-- resource (the resource server's identifier, or null if it equals aud); empty for a token of another issuer;
-- max_scopes (text[]): the scopes to which an ID-JAG limits the new token, or null;
-- is_bound: whether the subject's token is bound to a key;
-- refusal: the reason why the subject's token is refused already, so that only the client is authenticated, or null.
--
-- max-pages-read: 500, because one call in 16 deletes up to 64 expired identifiers, each by its primary key
-- example: refusal=null
select is_target_known, is_proof_missing, scope, quotas, exhausted, audience, token_ttl, subject as subject_form, refusal
from exchange_token(
    -- Citus runs the function on the worker with the organization's rows only if the argument has the collation "C", like the
    -- column organization_id.
    p_organization_id => %(organization_id)s::text collate "C", p_agent_id => %(agent_id)s::uuid,
    p_at => %(at)s::timestamptz, p_day => %(day)s::date, p_hour => %(hour)s::integer,
    p_secret_hash => %(secret_hash)s::bytea,
    p_key_or_rule => %(key_or_rule)s::jsonb, p_digest => %(digest)s::bytea, p_expires_at => %(expires_at)s::timestamptz,
    p_scope => %(scope)s::text[], p_resource => %(resource)s::text, p_has_proof => %(has_proof)s::boolean,
    p_subject_agent_id => %(subject_agent_id)s::uuid, p_issuer => %(issuer)s::text, p_rule_id => %(rule_id)s::uuid,
    p_agent_ids => %(agent_ids)s::uuid[], p_issued_at => %(issued_at)s::timestamptz[], p_jtis => %(jtis)s::text[],
    p_ancestors => %(ancestors)s::jsonb, p_max_scopes => %(max_scopes)s::text[], p_is_bound => %(is_bound)s::boolean,
    p_refusal => %(refusal)s::text, p_durable => %(durable)s::boolean
)
