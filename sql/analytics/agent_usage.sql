-- Tokens issued per agent in the UTC calendar month of "day", up to it. One row per agent with at least
-- one token, most tokens first, then by agent_id.
-- Parameters: organization_id; day: today in UTC.
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
order by token_count desc, usage.agent_id
