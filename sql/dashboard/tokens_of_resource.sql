-- Returns the tokens for a resource on each UTC day of a period, one row per day with tokens: on_day; tokens.
-- Parameters: organization_id; agent_ids (uuid[]): the only agents, null for all; resource: empty for our own API, null for all;
-- first; last: the first and the last day.
--
-- max-pages-read: 25000, the days of each of ten thousand agents
-- max-pages-read-with-1000-agents: 10000
-- example: agent_ids=null; resource=https://api.example
select day as on_day, sum(tokens)::bigint as tokens
from credential_usage_daily
where
    organization_id = %(organization_id)s
    and day >= %(first)s::date
    and day < %(last)s::date + 1
    and (%(agent_ids)s::uuid[] is null or agent_id in (select unnest(%(agent_ids)s::uuid[])))
    and (%(resource)s::text is null or resource = %(resource)s::text collate "C")
group by day
