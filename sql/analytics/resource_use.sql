-- Returns the tokens for a resource in a period, one row per agent and one row per UTC day. The row of an agent has null as
-- on_day, and sums over all days. The row of a day has null as agent_id, and sums over all agents. hours (bigint[]): the tokens
-- in each of the 24 hours; last_day: the last day with tokens.
-- Parameters: organization_id; resource (empty: our own API); first and last: the first and the last day of the period.
--
-- max-pages-read: 25000, for the days of ten thousand agents
-- max-pages-read-with-1000-agents: 10000
-- example: resource=https://api.example
select
    agent_id,
    day as on_day,
    max(day) as last_day,
    {sums_by_hour} as hours
from (
    select agent_id, day, tokens_by_hour as by_hour
    from credential_usage_daily
    where
        organization_id = %(organization_id)s
        and day >= %(first)s::date
        and day < %(last)s::date + 1
        and resource = %(resource)s collate "C"
) as usage
group by grouping sets ((agent_id), (day))
