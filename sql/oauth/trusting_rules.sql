-- The rules of trust of an organization that a token of another issuer can meet, by its issuer and its subject alone. One row
-- per rule that is not revoked, the oldest first: agent_id, trust, and is_in_force: whether it has not expired at "at", and its agent
-- is active.
-- Parameters: organization_id; selectors (uuid[]): of such rules; most: the maximum number of rows, whichever they are;
-- at (timestamptz).
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
        -- Each by the index, also if the plan was made while the table was empty.
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
