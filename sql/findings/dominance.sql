-- The agent with more than its share of the tokens of the UTC calendar month of "at", up to its day. One row, or none:
-- also where only one agent was issued any, or all of them together too few.
-- Parameters: organization_id; at (timestamptz): now; percent: the share; least_tokens: of all agents together.
with counted as (
    select
        usage.agent_id,
        sum(usage.tokens) as tokens,
        sum(sum(usage.tokens)) over () as all_tokens,
        count(*) over () as agents
    from agent_usage_daily as usage
    where
        usage.organization_id = %(organization_id)s
        and usage.day >= date_trunc('month', %(at)s::timestamptz at time zone 'UTC')::date
        and usage.day < (%(at)s::timestamptz at time zone 'UTC')::date + 1
    group by usage.agent_id
    having sum(usage.tokens) > 0
)
select
    counted.agent_id,
    agents.name as agent_name,
    counted.tokens::bigint as tokens,
    counted.all_tokens::bigint as all_tokens
from counted
join agents
    on agents.organization_id = %(organization_id)s
    and agents.agent_id = counted.agent_id
where
    counted.agents > 1
    and counted.all_tokens >= %(least_tokens)s::bigint
    and counted.tokens * 100 > counted.all_tokens * %(percent)s::integer
order by counted.tokens desc, counted.agent_id
limit 1
