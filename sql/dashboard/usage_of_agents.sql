-- Returns the usage of agents on each UTC day of a period, one row per day, oldest first, including days without usage: on_day;
-- tokens; requests; rejected.
-- Parameters: organization_id; agent_ids (uuid[]); first; last: the first and the last day. The statement looks up each day by
-- its key, because reading a range of days would read the rows of all agents.
--
-- max-pages-read: 50000, the period's rows of all agents, if one owner has all of them
-- max-pages-read-with-1000-agents: 17000
select
    calendar.day as on_day,
    coalesce(counted.tokens, 0) as tokens,
    coalesce(counted.requests, 0) as requests,
    coalesce(counted.rejected, 0) as rejected
from generate_series(0, %(last)s::date - %(first)s::date) as since (days)
cross join lateral (select %(first)s::date + since.days as day offset 0) as calendar
cross join lateral (
    select sum(tokens)::bigint as tokens, sum(requests)::bigint as requests, sum(rejected)::bigint as rejected
    from agent_usage_daily
    where organization_id = %(organization_id)s and day = calendar.day and agent_id = any (%(agent_ids)s::uuid[])
) as counted
order by calendar.day
