-- Who got tokens for a resource in a period. One row an agent, with agent_id and null as on_day; and one a UTC day, with null as
-- agent_id: hours (bigint[]) are the tokens of each of 24 hours, of the agent on all days or of all agents on the day.
-- last_day is the last one with tokens.
-- Parameters: organization_id; resource: empty for our own API; first; last: the first and the last day.
--
-- pages: 25000, the days of each of ten thousand agents
-- fleet-pages: 10000
-- example: resource=https://api.example
select
    agent_id,
    day as on_day,
    max(day) as last_day,
    -- Summed before the hours become rows, as in analytics/activity_heatmap.
    array[
        sum(tokens_by_hour[1]), sum(tokens_by_hour[2]), sum(tokens_by_hour[3]), sum(tokens_by_hour[4]),
        sum(tokens_by_hour[5]), sum(tokens_by_hour[6]), sum(tokens_by_hour[7]), sum(tokens_by_hour[8]),
        sum(tokens_by_hour[9]), sum(tokens_by_hour[10]), sum(tokens_by_hour[11]), sum(tokens_by_hour[12]),
        sum(tokens_by_hour[13]), sum(tokens_by_hour[14]), sum(tokens_by_hour[15]), sum(tokens_by_hour[16]),
        sum(tokens_by_hour[17]), sum(tokens_by_hour[18]), sum(tokens_by_hour[19]), sum(tokens_by_hour[20]),
        sum(tokens_by_hour[21]), sum(tokens_by_hour[22]), sum(tokens_by_hour[23]), sum(tokens_by_hour[24])
    ]::bigint[] as hours
from credential_usage_daily
where
    organization_id = %(organization_id)s
    and day >= %(first)s::date
    and day < %(last)s::date + 1
    and resource = %(resource)s collate "C"
group by grouping sets ((agent_id), (day))
