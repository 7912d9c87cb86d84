-- The agents of an organization in the UTC calendar month of "day", up to it: a part of the list of all that are
-- registered, and of those deleted that were counted this month; most tokens first, then most requests, then by name.
-- One row per agent: agent_id, name, status (active, suspended or deleted), tokens, requests and rejected of the month,
-- last_seen (timestamptz): the beginning of the hour of its last request within 90 days, or null; and in each row of
-- all agents together: agents, how many, and all_tokens.
-- Parameters: organization_id; day: today in UTC; limit; offset: how many to leave out.
with counted as (
    select
        usage.agent_id,
        sum(usage.tokens)::bigint as tokens,
        sum(usage.requests)::bigint as requests,
        sum(usage.rejected)::bigint as rejected
    from agent_usage_daily as usage
    where
        usage.organization_id = %(organization_id)s
        and usage.day >= date_trunc('month', %(day)s::date::timestamp)::date
        and usage.day < %(day)s::date + 1
    group by usage.agent_id
),
listed as (
    select
        agents.agent_id,
        agents.name,
        case when agents.deleted_at is null then agents.status else 'deleted' end as status,
        coalesce(counted.tokens, 0) as tokens,
        coalesce(counted.requests, 0) as requests,
        coalesce(counted.rejected, 0) as rejected,
        count(*) over () as agents,
        coalesce(sum(counted.tokens) over (), 0)::bigint as all_tokens
    from agents
    left join counted on counted.agent_id = agents.agent_id
    where
        agents.organization_id = %(organization_id)s
        and (agents.deleted_at is null or counted.agent_id is not null)
    order by tokens desc, requests desc, agents.name, agents.agent_id
    limit %(limit)s
    offset %(offset)s
)
select
    listed.*,
    last_request.hour as last_seen
from listed
left join lateral (
    select (calendar.day + make_interval(hours => seen.hour)) at time zone 'UTC' as hour
    -- Counts up, so from today backwards, and each day is found by the key: of many agents' 90 days in a row it would
    -- read all. With an "order by", all days would be read to sort them.
    from generate_series(0, 89) as ago (days)
    cross join lateral (select %(day)s::date - ago.days as day offset 0) as calendar
    cross join lateral (
        select (max(cell.ordinal) - 1)::integer as hour
        from agent_usage_daily as usage
        cross join lateral unnest(usage.requests_by_hour) with ordinality as cell (requests, ordinal)
        where
            usage.organization_id = %(organization_id)s
            and usage.day = calendar.day
            and usage.agent_id = listed.agent_id
            and cell.requests > 0
    ) as seen
    where seen.hour is not null
    limit 1
) as last_request on true
order by listed.tokens desc, listed.requests desc, listed.name, listed.agent_id
