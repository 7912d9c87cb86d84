-- The rules of trust of an organization with the issuer and the subject of a token. One row per rule that is not revoked, oldest
-- first: agent_id; trust; is_in_force: whether the rule has not expired at "at" and its agent is active.
-- Parameters: organization_id; selectors (uuid[]): the trust_selector of the rules; most: the maximum number of rows; at
-- (timestamptz).
--
-- pages: 20
-- example: selectors={00000000-0000-0000-0000-000000000007}; most=200
select
    rules.agent_id,
    rules.trust,
    active.agent_id is not null and coalesce(rules.expires_at > %(at)s, true) as is_in_force
from (
    select found.*
    from unnest(%(selectors)s::uuid[]) as wanted (selector)
    cross join lateral (
        select agent_id, credential_id, trust, created_at, expires_at
        from credentials
        where organization_id = %(organization_id)s and trust_selector = wanted.selector and revoked_at is null
        -- "offset 0" makes PostgreSQL look up each selector by the index, also if the plan was made on an empty table.
        offset 0
    ) as found
    limit %(most)s
) as rules
left join lateral (
    select agent_id
    from active_agents
    where organization_id = %(organization_id)s and agent_id = rules.agent_id
    offset 0
) as active on true
order by rules.created_at, rules.credential_id
