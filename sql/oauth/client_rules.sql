-- The rules of trust by which tokens of an issuer are a client's. One row per rule of an active agent, of a credential that is neither
-- revoked nor expired at "at", until they have max_characters together; first those that a token may meet by its subject, then the
-- others, each the oldest first: agent_id; trust, as text, or null for a rule that the token may meet and that is one too many;
-- is_in_force: true.
-- Parameters: organization_id; agent_id; issuers (text[]): the possible issuers of the token; selectors (uuid[]): of the rules that it may
-- meet; max_characters; at (timestamptz).
--
-- example: issuers={https://issuer.example}; selectors={00000000-0000-0000-0000-000000000007}; max_characters=16000
select
    rules.agent_id,
    case when rules.characters <= %(max_characters)s then rules.trust::text end as trust,
    true as is_in_force
from (
    select
        *,
        trust_selector = any (%(selectors)s::uuid[]) as is_selected,
        coalesce(trust_length, pg_column_size(trust)) as length,
        sum(coalesce(trust_length, pg_column_size(trust))) over (
            order by trust_selector = any (%(selectors)s::uuid[]) desc, created_at, credential_id
        ) as characters
    from credentials
    where
        organization_id = %(organization_id)s
        and agent_id = %(agent_id)s
        and is_credential_in_force(expires_at, revoked_at, %(at)s)
        and trust is not null
    offset 0
) as rules
where
    (
        -- Only of few rules: to look into a rule is to decompress it.
        case when rules.characters <= %(max_characters)s then rules.trust ->> 'issuer' = any (%(issuers)s::text[]) end
        or (rules.is_selected and rules.characters - rules.length <= %(max_characters)s)
    )
    and exists (select from active_agents where organization_id = %(organization_id)s and agent_id = %(agent_id)s)
order by rules.characters
