-- Returns an organization's tokens by agent and UTC day, one row per agent and day with at least one token, including deleted
-- agents, oldest day first, most tokens first within a day: on_day, agent_id, tokens.
-- Parameters: organization_id; first; last: the first and the last day; limit.
--
-- pages: 45000, the rows of all agents and days
-- fleet-pages: 6500
-- example: first=2026-04-01; last=2026-04-15; limit=100001
select day as on_day, agent_id, sum(tokens)::bigint as tokens
from agent_usage_daily
where organization_id = %(organization_id)s and day >= %(first)s::date and day < %(last)s::date + 1
group by day, agent_id
having sum(tokens) > 0
order by day, sum(tokens) desc, agent_id
limit %(limit)s
