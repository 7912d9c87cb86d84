-- Stores the sums of tokens per agent in a UTC calendar month, for the days before "until". Returns no row.
-- Parameters: organization_id; month (date): its first day; until (date): the day after the last summed day.
--
-- for: operator
insert into usage_monthly (organization_id, month, summed_until, tokens, agent_ids, agent_tokens)
select
    %(organization_id)s, %(month)s::date, %(until)s::date, sum(counted.tokens), array_agg(counted.agent_id),
    array_agg(counted.tokens)
from (
    select usage.agent_id, sum(usage.tokens)::bigint as tokens
    from agent_usage_daily as usage
    where usage.organization_id = %(organization_id)s and usage.day >= %(month)s::date and usage.day < %(until)s::date
    group by usage.agent_id
    having sum(usage.tokens) > 0
) as counted
having sum(counted.tokens) > 0
on conflict (organization_id, month) do update
set
    summed_until = excluded.summed_until,
    tokens = excluded.tokens,
    agent_ids = excluded.agent_ids,
    agent_tokens = excluded.agent_tokens
