-- The agent with more than its share of the tokens since a day. One row, or none: also if only one agent was issued any,
-- or all of them together too few. If the day is the first of a month, its stored sums are used as analytics/agent_usage
-- does.
-- Parameters: organization_id; first_day, until (date): the day, and the one after the last; percent: the share;
-- min_tokens: of all agents together.
with summed as (
    select monthly.summed_until, monthly.agent_ids, monthly.agent_tokens
    from usage_monthly as monthly
    where
        monthly.organization_id = %(organization_id)s
        and monthly.month = %(first_day)s::date
        and monthly.summed_until <= %(until)s::date
        and monthly.tokens = (
            select sum(usage.tokens)
            from usage_daily as usage
            where
                usage.organization_id = %(organization_id)s
                and usage.day >= %(first_day)s::date
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
        and usage.day >= (select coalesce((select summed_until from summed), %(first_day)s::date))
        and usage.day < %(until)s::date
),
by_agent as (
    select
        agent_id,
        sum(tokens) as tokens,
        sum(sum(tokens)) over () as all_tokens,
        count(*) over () as agents
    from counted
    group by agent_id
    having sum(tokens) > 0
)
select
    by_agent.agent_id,
    agents.name as agent_name,
    by_agent.tokens::bigint as tokens,
    by_agent.all_tokens::bigint as all_tokens
from by_agent
join agents
    on agents.organization_id = %(organization_id)s
    and agents.agent_id = by_agent.agent_id
where
    by_agent.agents > 1
    and by_agent.all_tokens >= %(min_tokens)s::bigint
    and by_agent.tokens * 100 > by_agent.all_tokens * %(percent)s::integer
order by by_agent.tokens desc, by_agent.agent_id
limit 1
