-- Returns an agent's usage per UTC day of a period, one row per day, oldest first, including days without usage. Each row also
-- has the agent's name, the instant of its creation, its status ("deleted" for a deleted agent), and last_token_hour: the hour of
-- its last token in the 90 days up to the last day (null: no token). Returns no row if the organization has no such agent.
-- Parameters: organization_id; agent_id; first and last: the first and the last day of the period. The statement looks up each
-- day by its key, because reading a range of days would read the rows of all agents.
--
-- max-pages-read: 500, for four look-ups per day
-- max-pages-read-with-1000-agents: 500
select
    agents.name as agent_name,
    agents.created_at,
    case when agents.deleted_at is null then agents.status else 'deleted' end as status,
    last_token.hour as last_token_hour,
    to_char(calendar.day, 'YYYY-MM-DD') as date,
    counted.tokens,
    counted.requests,
    counted.rejected
from agents
left join lateral (
    select (calendar.day + make_interval(hours => issued.hour)) at time zone 'UTC' as hour
    -- The series begins with the last day, so "limit 1" stops at the latest token. "order by" would read all 90 days.
    from generate_series(0, 89) as ago (days)
    cross join lateral (select %(last)s::date - ago.days as day offset 0) as calendar
    cross join lateral (
        select (max(cell.ordinal) - 1)::integer as hour
        from agent_usage_daily as usage
        cross join lateral unnest(usage.tokens_by_hour) with ordinality as cell (tokens, ordinal)
        where
            usage.organization_id = %(organization_id)s
            and usage.day = calendar.day
            and usage.agent_id = %(agent_id)s
            and cell.tokens > 0
    ) as issued
    where issued.hour is not null
    limit 1
) as last_token on true
cross join generate_series(0, %(last)s::date - %(first)s::date) as since (days)
cross join lateral (select %(first)s::date + since.days as day offset 0) as calendar
cross join lateral (
    select
        coalesce(sum(usage.tokens), 0)::bigint as tokens,
        coalesce(sum(usage.requests), 0)::bigint as requests,
        coalesce(sum(usage.rejected), 0)::bigint as rejected
    from agent_usage_daily as usage
    where usage.organization_id = %(organization_id)s and usage.day = calendar.day and usage.agent_id = %(agent_id)s
) as counted
where agents.organization_id = %(organization_id)s and agents.agent_id = %(agent_id)s
order by calendar.day
