-- Returns the hourly tokens of the agents whose tokens grew the most on the evaluated UTC days. One row per agent: agent_id,
-- agent_name; history (json): an array with one item per counter row, [days since first_day, the 24 hourly counts of tokens].
-- The statement first selects max_suspects agents by the growth of their daily tokens. Of these agents, it then selects max_agents
-- by the growth of their busiest hour. This growth is computed for the busiest hour of each quarter of the day (six hours), and
-- the greatest of the four values is used.
-- Growth is (highest - mean) / (mean + smoothing). "highest" is the highest count on an evaluated day, and "mean" is the mean of
-- the days with usage among the growth_days days before the evaluated days. The counts are those of counter rows: a day has
-- several rows if several transactions counted at the same time. The rows of a day are not added up, because that would take a
-- second aggregation over all agents, and the ranking only decides which histories are read.
-- Parameters: organization_id; first_day (date): the first day of the histories; since and until (date): the first evaluated day,
-- and the day after the last; growth_days; day_smoothing and hour_smoothing: the tokens that are added to the mean of days, and of
-- hours, so that agents with few tokens do not rank high; max_suspects, max_agents.
--
-- max-pages-read: 115000, for the days of ten thousand agents, and the hours of a hundred
-- max-pages-read-with-1000-agents: 65000
with days as materialized (
    select
        usage.agent_id,
        coalesce(max(usage.tokens) filter (where usage.day >= %(since)s::date), 0) as highest_day,
        coalesce(avg(usage.tokens::float8) filter (where usage.day < %(since)s::date), 0) as mean_day
    from agent_usage_daily as usage
    where
        usage.organization_id = %(organization_id)s and usage.tokens > 0
        and usage.day >= %(since)s::date - %(growth_days)s::integer and usage.day < %(until)s::date
    group by usage.agent_id
),
suspects as materialized (
    select agent_id
    from days
    where highest_day > 0
    order by (highest_day - mean_day) / (mean_day + %(day_smoothing)s::integer) desc, agent_id
    limit %(max_suspects)s::integer
),
-- The quarters of the day are compared separately, because the busiest hour of the whole day may hide a retry loop at night.
quarters as materialized (
    select
        busiest.agent_id,
        max(busiest.tokens) filter (where busiest.day >= %(since)s::date) as highest_hour,
        coalesce(avg(busiest.tokens) filter (where busiest.day < %(since)s::date), 0) as mean_hour
    from (
        select usage.agent_id, usage.day, (cell.place - 1) / 6 as quarter, max(cell.tokens) as tokens
        from suspects
        cross join generate_series(-%(growth_days)s::integer, %(until)s::date - %(since)s::date - 1) as day_offsets (days)
        -- "offset 0" makes the planner look up each day of each agent. Otherwise it would expect many agents, and read the days
        -- of all agents.
        cross join lateral (select %(since)s::date + day_offsets.days as day offset 0) as calendar
        cross join lateral (
            select counted.agent_id, counted.day, counted.tokens_by_hour
            from agent_usage_daily as counted
            where counted.organization_id = %(organization_id)s and counted.day = calendar.day
                and counted.agent_id = suspects.agent_id
            offset 0
        ) as usage
        cross join lateral unnest(usage.tokens_by_hour) with ordinality as cell (tokens, place)
        group by usage.agent_id, usage.day, (cell.place - 1) / 6
    ) as busiest
    group by busiest.agent_id, busiest.quarter
),
candidates as materialized (
    select agent_id
    from quarters
    group by agent_id
    order by max((highest_hour - mean_hour) / (mean_hour + %(hour_smoothing)s::integer)) desc nulls last, agent_id
    limit %(max_agents)s::integer
)
-- The query in columns/token_history reads the history of each candidate.
{token_history}
order by agents.agent_id
