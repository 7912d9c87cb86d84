-- Returns an organization's tokens in a period per agent and UTC day, including deleted agents, one row per agent and day with at
-- least one token: on_day, agent_id, tokens. The oldest day comes first, and within a day the agent with the most tokens.
-- Parameters: organization_id; first and last: the first and the last day of the period; limit: the maximum number of rows.
--
-- max-pages-read: 45000, for the rows of all agents and days
-- max-pages-read-with-1000-agents: 6500
-- example: first=2026-04-01; last=2026-04-15; limit=100001
select day as on_day, agent_id, sum(tokens)::bigint as tokens
from agent_usage_daily
where organization_id = %(organization_id)s and day >= %(first)s::date and day < %(last)s::date + 1
group by day, agent_id
having sum(tokens) > 0
order by day, sum(tokens) desc, agent_id
limit %(limit)s
