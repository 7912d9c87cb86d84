-- The agents that may trust a token of another issuer, over all organizations, a bounded number of them. One row per agent:
-- organization_id, agent_id. Parameters: selectors (bytea[]): of the token, as trusted_subjects has them; most: the maximum
-- number of agents.
--
-- citus: no shard, because subjects are looked up on the coordinator
-- example: selectors={\\x00}
select distinct found.organization_id, found.agent_id
from unnest(%(selectors)s::bytea[]) as wanted (selector)
cross join lateral (
    select organization_id, agent_id
    from trusted_subjects
    where selector = wanted.selector
    -- Each by the primary key, also if the plan was made while the table was empty.
    offset 0
) as found
order by found.organization_id, found.agent_id
limit %(most)s
