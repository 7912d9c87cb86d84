-- As oauth/issue_access_token, issues a token at "at" by which the client acts for somebody (RFC 8693), and counts for whom.
-- No row for any failed authentication. Otherwise one row: refusal, why the subject's token is not acceptable, in the words of
-- the log, or null; and what oauth/issue_access_token returns. is_target_known is also false if the rule does not have the
-- resource, or if the resource server is a cloud, which knows no delegation; is_proof_missing also true if the subject's token is
-- bound to a key and the new one would not be. scope is within the subject's: an agent's, or those that the rule has for the
-- resource, and those of each token for the resource that the new one comes from.
-- Parameters: organization_id, agent_id, at, day, hour, secret_hash, jwk, digest, expires_at, has_proof, durable: as there;
-- resource: never null; scope: null for all that both have for it; subject_agent_id: for whom; or null, and then issuer and
-- rule_id: whose subject it is, and the rule that has accepted its token; agent_ids (uuid[]): the client, who acted before, and
-- for whom, each once; null if the subject's token is refused already; jtis (text[]): of the token that is exchanged, of those
-- that it came from, and of the actor's; ancestors (jsonb): the first two as a list of objects with aud, scope and resource (the
-- identifier if aud is another name, or null), the newest first; empty for a token of another issuer; is_bound: whether the
-- subject's token is bound to a key.
--
-- pages: 500, one use in 16 deletes up to 64 expired identifiers, each by its key
select is_target_known, is_proof_missing, scope, quotas, exhausted, audience, token_ttl, subject, refusal
from exchange_token(
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
    p_resource => %(resource)s::text,
    p_has_proof => %(has_proof)s::boolean,
    p_subject_agent_id => %(subject_agent_id)s::uuid,
    p_issuer => %(issuer)s::text,
    p_rule_id => %(rule_id)s::uuid,
    p_agent_ids => %(agent_ids)s::uuid[],
    p_jtis => %(jtis)s::text[],
    p_ancestors => %(ancestors)s::jsonb,
    p_is_bound => %(is_bound)s::boolean,
    p_durable => %(durable)s::boolean
)
