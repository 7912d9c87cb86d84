-- Returns the rules of trust of an organization for the issuer and the subject of another issuer's token. One row per rule that is
-- not revoked, oldest first: agent_id; trust, as text; is_in_force: whether the rule has not expired at "at", and its agent is
-- active. The returned rules together have at most max_characters. If there are more rules, one more row has null as trust.
-- Parameters: organization_id; selectors (uuid[]): the values of trust_selector, each a digest of an issuer and a subject, of the
-- rules that the token can match; max_characters; at (timestamptz).
--
-- max-pages-read: 20
-- example: selectors={00000000-0000-0000-0000-000000000007}; max_characters=16000
select
    rules.agent_id,
    case when rules.characters <= %(max_characters)s then rules.trust::text end as trust,
    active.agent_id is not null and coalesce(rules.expires_at > %(at)s, true) as is_in_force
from (
    select selected.*, sum(length) over (order by created_at, credential_id) as characters
    from (
        select matching.*
        from unnest(%(selectors)s::uuid[]) as selectors (selector)
        cross join lateral (
            select
                agent_id, credential_id, trust, created_at, expires_at,
                coalesce(trust_length, pg_column_size(trust)) as length
            from credentials
            where organization_id = %(organization_id)s and trust_selector = selectors.selector and revoked_at is null
            -- "offset 0" makes the planner look up each selector in the index, even if the plan was made on an empty table.
            offset 0
        ) as matching
        -- More than 200 rules are never needed, because even the 200 shortest rules together exceed max_characters.
        limit 200
    ) as selected
    offset 0
) as rules
left join lateral (
    select agent_id
    from active_agents
    where organization_id = %(organization_id)s and agent_id = rules.agent_id
    offset 0
) as active on true
where rules.characters - rules.length <= %(max_characters)s
order by rules.characters
