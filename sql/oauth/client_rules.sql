-- Returns the rules of trust by which a client may accept a token of another issuer, one row per rule: agent_id; trust, as text;
-- is_in_force: always true, because rules that are revoked or expired at "at", and rules of agents that are not active, are not
-- returned. Rules for the token's subject come before other rules, and older rules before newer rules. The rows end before the
-- rule with which they would have more than max_characters together. If that rule is for the token's subject, it is returned,
-- too, with null as trust.
-- Parameters: organization_id; agent_id; issuers (text[]): the possible issuers of the token; selectors (uuid[]): the values of
-- trust_selector, each a digest of an issuer and a subject, of the rules that the token may match; max_characters; at
-- (timestamptz).
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
        -- The issuer is read only from rules within max_characters, because PostgreSQL decompresses the entire rule to read its
        -- issuer.
        case when rules.characters <= %(max_characters)s then rules.trust ->> 'issuer' = any (%(issuers)s::text[]) end
        or (rules.is_selected and rules.characters - rules.length <= %(max_characters)s)
    )
    and exists (select from active_agents where organization_id = %(organization_id)s and agent_id = %(agent_id)s)
order by rules.characters
