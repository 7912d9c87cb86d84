-- Returns the tokens per agent in a period, one row per agent with at least one token, including deleted agents, sorted by tokens
-- (most first) and then by agent_id. If with_names is true, each row also has the agent's name and the tokens of all agents.
--
-- If the period begins with a month, the stored sums of that month (agentidp/usage_history/monthly_sums.py) are read instead of
-- the daily counters, but only while the organization's counters still have the stored total. Counters only grow, so while the
-- total is the same, no agent's sum has changed.
--
-- Parameters: organization_id; first; last: the first and the last day; with_names: whether agent_name and all_tokens are
-- returned and not null; limit: of the rows, null for all.
--
-- pages: 45000, the month's rows of all agents, and for some a look-up for each agent
-- fleet-pages: 6500
-- example: first=2026-04-01; last=2026-04-15; with_names=true; limit=null
with summed as (
    select monthly.summed_until, monthly.agent_ids, monthly.agent_tokens
    from usage_monthly as monthly
    where
        monthly.organization_id = %(organization_id)s
        and monthly.month = %(first)s::date
        and monthly.summed_until <= %(last)s::date + 1
        and monthly.tokens = (
            select sum(usage.tokens)
            from usage_daily as usage
            where
                usage.organization_id = %(organization_id)s
                and usage.day >= %(first)s::date
                and usage.day < monthly.summed_until
        )
),
counted as (
    select of_agent.agent_id, of_agent.tokens
    from summed
    cross join lateral unnest(summed.agent_ids, summed.agent_tokens) as of_agent (agent_id, tokens)
    union all
    select usage.agent_id, usage.tokens
    from agent_usage_daily as usage
    where
        usage.organization_id = %(organization_id)s
        -- PostgreSQL evaluates this sub-select before the index scan, so the scan begins there, even under row-level security.
        and usage.day >= (select coalesce((select summed_until from summed), %(first)s::date))
        and usage.day < %(last)s::date + 1
),
by_agent as (
    select agent_id, sum(tokens)::bigint as token_count
    from counted
    group by agent_id
    having sum(tokens) > 0
    -- Sorts here, where agent_id is still a UUID, because comparing UUIDs is faster than comparing text.
    order by token_count desc, agent_id
    limit %(limit)s::bigint
)
select
    by_agent.agent_id::text as agent_id,
    by_agent.token_count,
    case when %(with_names)s::boolean then (
        -- Reads the organization's counters, because they have the same sum as the counters of all agents in far fewer rows.
        select sum(usage.tokens)::bigint
        from usage_daily as usage
        where
            usage.organization_id = %(organization_id)s
            and usage.day >= %(first)s::date
            and usage.day < %(last)s::date + 1
    ) end as all_tokens,
    case when %(with_names)s::boolean then (
        select agents.name
        from agents
        where agents.organization_id = %(organization_id)s and agents.agent_id = by_agent.agent_id
    ) end as agent_name
from by_agent
order by by_agent.token_count desc, by_agent.agent_id
