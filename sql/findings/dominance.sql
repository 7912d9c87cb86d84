-- The agent with more than its share of the tokens since a day. One row, or none: also if only one agent was issued any,
-- or all of them together too few.
-- Parameters: organization_id; first_day, until (date): the day, and the one after the last; percent: the share;
-- min_tokens: of all agents together.
with counted as (
    select
        usage.agent_id,
        sum(usage.tokens) as tokens,
        sum(sum(usage.tokens)) over () as all_tokens,
        count(*) over () as agents
    from agent_usage_daily as usage
    where
        usage.organization_id = %(organization_id)s
        and usage.day >= %(first_day)s::date
        and usage.day < %(until)s::date
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
    and counted.all_tokens >= %(min_tokens)s::bigint
    and counted.tokens * 100 > counted.all_tokens * %(percent)s::integer
order by counted.tokens desc, counted.agent_id
limit 1
