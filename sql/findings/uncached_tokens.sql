-- Returns the hourly counts of the agents that possibly get far more tokens than they need. One row per agent: agent_id,
-- agent_name, expected_replicas (or null), and history (json), a list with one item per counter row. An item is a list of the days
-- since first_day, the 24 hourly counts of tokens and the 24 hourly counts of requests.
-- In an agent's active hours, each declared replica needs one token per token_ttl. A UTC day is suspect if the agent got at least
-- min_tokens, and more than "factor" times the tokens that it needed. Each returned agent has at least min_days suspect days.
-- Tokens for resource servers that want a token per call, or whose tokens have a shorter lifetime than token_ttl, do not count:
-- an additional item of the history has the counts of such tokens as negative numbers.
-- Parameters: organization_id; first_day (date): the first day of the histories; since (date): the first day that is examined;
-- until (date): the day after the last examined day; token_ttl: a token's lifetime in seconds; factor; min_tokens; min_days;
-- max_agents: the maximum number of agents; the agents with the most tokens on suspect days are returned.
--
-- max-pages-read: 25000, for the days of ten thousand agents
-- max-pages-read-with-1000-agents: 10000
with uncounted as materialized (
    -- The resources whose tokens do not count. "having" returns no row if there are no such resources, so that no counters by
    -- resource are read.
    select array_agg(resource) as resources
    from resource_servers
    where
        organization_id = %(organization_id)s
        and (token_per_call or token_ttl < %(token_ttl)s::integer)
    having count(*) > 0
),
days as materialized (
    -- "fewest" is the number of tokens that the agent needed: one per lifetime in its active hours. "having" already drops most
    -- days that are not suspect.
    select
        usage.agent_id,
        usage.day,
        sum(usage.tokens) as tokens,
        ceil(max(cardinality(array_remove(usage.requests_by_hour, 0))) * 3600.0 / %(token_ttl)s::integer) as fewest
    from agent_usage_daily as usage
    where
        usage.organization_id = %(organization_id)s
        and usage.day >= %(since)s::date
        and usage.day < %(until)s::date
    group by usage.agent_id, usage.day
    having
        sum(usage.tokens) >= %(min_tokens)s::bigint
        and (
            exists (select from uncounted)
            or sum(usage.tokens) > %(factor)s::integer
                * ceil(max(cardinality(array_remove(usage.requests_by_hour, 0))) * 3600.0 / %(token_ttl)s::integer)
        )
),
suspect_days as materialized (
    select
        days.agent_id,
        days.tokens - coalesce(counted.tokens, 0) as tokens,
        -- counted.tokens is null if no token of the day is left out. Otherwise the hours in which the agent needed the remaining
        -- tokens are unknown, so the agent is assumed to need only one token on the day.
        case when counted.tokens is null then days.fewest else 1 end as fewest
    from days
    left join lateral (
        select sum(by_resource.tokens) as tokens
        from uncounted
        cross join lateral (
            select tokens
            from credential_usage_daily
            where
                organization_id = %(organization_id)s and day = days.day and agent_id = days.agent_id
                and resource = any (uncounted.resources)
            offset 0
        ) as by_resource
    ) as counted on true
),
suspects as materialized (
    select agents.agent_id, agents.name, agents.expected_replicas
    from suspect_days
    join agents
        on agents.organization_id = %(organization_id)s
        and agents.agent_id = suspect_days.agent_id
        and coalesce(agents.deleted_at, 'infinity') = 'infinity'
    where
        suspect_days.tokens >= %(min_tokens)s::bigint
        and suspect_days.tokens
            > %(factor)s::integer * suspect_days.fewest * coalesce(agents.expected_replicas, 1)
    group by agents.agent_id, agents.name, agents.expected_replicas
    having count(*) >= %(min_days)s::integer
    order by sum(suspect_days.tokens) desc, agents.agent_id
    limit %(max_agents)s::integer
)
select
    suspects.agent_id,
    suspects.name as agent_name,
    suspects.expected_replicas,
    json_agg(
        json_build_array(calendar.day - %(first_day)s::date, usage.tokens_by_hour, usage.requests_by_hour)
        order by calendar.day, usage.slot
    ) as history
from suspects
cross join generate_series(0, %(until)s::date - %(first_day)s::date - 1) as later (days)
-- "offset 0" makes the planner look up each day of each agent. Otherwise it would expect many agents, and read the days of all
-- agents.
cross join lateral (select %(first_day)s::date + later.days as day offset 0) as calendar
cross join lateral (
    select slot, tokens_by_hour, requests_by_hour
    from agent_usage_daily
    where organization_id = %(organization_id)s and day = calendar.day and agent_id = suspects.agent_id
    union all
    select by_resource.slot, negative.by_hour, negative.by_hour
    from uncounted
    cross join lateral (
        select slot, tokens_by_hour
        from credential_usage_daily
        where
            organization_id = %(organization_id)s and day = calendar.day and agent_id = suspects.agent_id
            and resource = any (uncounted.resources)
        offset 0
    ) as by_resource
    cross join lateral (
        select array_agg(-cell.tokens order by cell.place) as by_hour
        from unnest(by_resource.tokens_by_hour) with ordinality as cell (tokens, place)
    ) as negative
) as usage
group by suspects.agent_id, suspects.name, suspects.expected_replicas
order by suspects.agent_id
