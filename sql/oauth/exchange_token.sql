-- As oauth/issue_access_token, issues a token at "at" by which the client acts for somebody (RFC 8693), and counts for whom.
-- No row for any failed authentication. Otherwise one row: refusal, why the subject's token is not acceptable, in the words of
-- the log, or null; and what oauth/issue_access_token returns. is_target_known is also false if the rule does not have the
-- resource, or if the resource server is a cloud, which knows no delegation; is_proof_missing also true if the subject's token is
-- bound to a key and the new one would not be. scope is within the subject's: an agent's, or those that the rule has for the
-- resource, and those of each token for the resource that the new one comes from.
-- Parameters: organization_id, agent_id, at, day, hour, secret_hash, jwk, digest, expires_at, has_proof, durable: as there; resource:
-- never null; scope: null for all that both have for it;
-- subject_agent_id: for whom; or null, and then issuer and rule_id: whose subject it is, and the rule that has accepted its token;
-- agent_ids (uuid[]): the client, who acted before, and for whom, each once; null if the subject's token is refused already;
-- jtis (text[]): of the token that is exchanged, of those that it came from, and of the actor's; ancestors (jsonb): the first two as
-- a list of objects with aud, scope and resource (the identifier if aud is another name, or null), the newest first; empty for a token
-- of another issuer;
-- is_bound: whether the subject's token is bound to a key.
--
-- pages: 500, one use in 16 deletes up to 64 expired identifiers, each by its key
select is_target_known, is_proof_missing, scope, quotas, exhausted, audience, token_ttl, subject, refusal
from exchange_token(
    -- On Citus, a function may read the rows of this very value only, which must have the column's collation.
    %(organization_id)s::text collate "C",
    %(agent_id)s::uuid,
    %(at)s::timestamptz,
    %(day)s::date,
    %(hour)s::integer,
    %(secret_hash)s::bytea,
    %(jwk)s::jsonb,
    %(digest)s::bytea,
    %(expires_at)s::timestamptz,
    %(scope)s::text[],
    %(resource)s::text,
    %(has_proof)s::boolean,
    %(subject_agent_id)s::uuid,
    %(issuer)s::text,
    %(rule_id)s::uuid,
    %(agent_ids)s::uuid[],
    %(jtis)s::text[],
    %(ancestors)s::jsonb,
    %(is_bound)s::boolean,
    %(durable)s::boolean
)
