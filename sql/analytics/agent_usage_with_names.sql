-- Tokens issued per agent in the UTC calendar month of "day", up to it, and the agents' names. One row per agent
-- with at least one token, most tokens first, then by agent_id; also those that were deleted.
-- Parameters: organization_id; day: today in UTC.
with counted as (
    select
        usage.agent_id,
        sum(usage.tokens)::bigint as token_count
    from agent_usage_daily as usage
    where
        usage.organization_id = %(organization_id)s
        and usage.day >= date_trunc('month', %(day)s::date::timestamp)::date
        and usage.day < %(day)s::date + 1
    group by usage.agent_id
    having sum(usage.tokens) > 0
)
select
    counted.agent_id,
    counted.token_count,
    agents.name as agent_name
from counted
join agents
    on agents.organization_id = %(organization_id)s
    and agents.agent_id = counted.agent_id
order by counted.token_count desc, counted.agent_id
