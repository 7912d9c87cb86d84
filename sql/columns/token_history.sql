-- Selects, for each agent in the CTE "candidates", one row with its hourly tokens. The column history is an array with one entry
-- per counter row: the number of days since first_day, and the 24 hourly counts. A day can have several counter rows. A statement
-- includes this query as {token_history}.
-- Parameters: organization_id, first_day, until: the day after the last day.
select
    agents.agent_id, agents.name as agent_name,
    json_agg(json_build_array(calendar.day - %(first_day)s::date, usage.tokens_by_hour) order by calendar.day, usage.slot) as history
from candidates
join agents
    on agents.organization_id = %(organization_id)s and agents.agent_id = candidates.agent_id
cross join generate_series(0, %(until)s::date - %(first_day)s::date - 1) as later (days)
cross join lateral (select %(first_day)s::date + later.days as day offset 0) as calendar
cross join lateral (
    select counted.slot, counted.tokens_by_hour
    from agent_usage_daily as counted
    where counted.organization_id = %(organization_id)s and counted.day = calendar.day
        and counted.agent_id = candidates.agent_id
    offset 0
) as usage
group by agents.agent_id, agents.name
