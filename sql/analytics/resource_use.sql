-- Returns the tokens for a resource in a period: one row per agent, whose on_day is null, and one row per UTC day, whose agent_id
-- is null. hours (bigint[]): the tokens in each of the 24 hours, summed over all days for an agent and over all agents for a day;
-- last_day: the last day with tokens.
-- Parameters: organization_id; resource: empty for our own API; first; last: the first and the last day.
--
-- pages: 25000, the days of each of ten thousand agents
-- fleet-pages: 10000
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
