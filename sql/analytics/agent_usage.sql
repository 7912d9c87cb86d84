-- Returns the tokens per agent in a period, including deleted agents, one row per agent with at least one token, most tokens
-- first.
--
-- If the period begins on the first day of a month, the sums that agentidp/usage_history/monthly_sums.py has stored for this
-- month replace the daily counters of their days. The sums are used only if their total equals the total of the organization's
-- counters of these days. Counters only grow, so an equal total means that no agent's sum has changed.
--
-- Parameters: organization_id; first and last: the first and the last day of the period; with_names: whether to return agent_name
-- and all_tokens, the tokens of all agents together (otherwise both are null); limit: the maximum number of rows (null: no
-- maximum).
--
-- max-pages-read: 45000, for the month's rows of all agents, and the name of each agent
-- max-pages-read-with-1000-agents: 6500
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
        -- PostgreSQL runs this sub-select before the index scan, so the scan begins at this day, even under row-level security.
        and usage.day >= (select coalesce((select summed_until from summed), %(first)s::date))
        and usage.day < %(last)s::date + 1
),
by_agent as (
    select agent_id, sum(tokens)::bigint as token_count
    from counted
    group by agent_id
    having sum(tokens) > 0
    -- The rows are sorted in this CTE, where agent_id is still a UUID, because comparing UUIDs is faster than comparing text.
    order by token_count desc, agent_id
    limit %(limit)s::bigint
)
select
    by_agent.agent_id::text as agent_id,
    by_agent.token_count,
    case when %(with_names)s::boolean then (
        -- The organization's counters have the same total as the counters of its agents, in far fewer rows.
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
