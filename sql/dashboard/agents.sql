-- A page of an organization's agents with their usage in a period: those that are registered, and those deleted that
-- have usage in it. One row an agent, in order: agent_id, name, description, owner, status (active, suspended or deleted),
-- tokens, requests, rejected; the day and the hour of the last of each in the period (token_day, token_hour, …), or null;
-- and in each row matches, how many agents are found, and of all agents all_agents and all_tokens.
-- Parameters: organization_id; first; last: the first and the last day; search: text that the name, the id, the
-- description or the owner contains, empty for all; status: or null for all; agent_ids (uuid[]): of these only,
-- or null for all; sort: name, tokens, requests, rejected, last_token, last_request or last_rejection; descending:
-- whether the last by this come first (agents without such an hour are always last); limit; offset.
--
-- pages: 50000, the period's rows of all agents, and each of them
-- fleet-pages: 17000
-- example: first=2026-01-16; last=2026-04-15; search=; status=null; agent_ids=null; sort=tokens; descending=true; limit=50;
--   offset=0
with counted as materialized (
    select
        usage.agent_id,
        sum(usage.tokens)::bigint as tokens,
        sum(usage.requests)::bigint as requests,
        sum(usage.rejected)::bigint as rejected,
        max(usage.day) filter (where usage.tokens > 0) as token_day,
        max(usage.day) filter (where usage.requests > 0) as request_day,
        max(usage.day) filter (where usage.rejected > 0) as rejection_day
    from agent_usage_daily as usage
    where
        usage.organization_id = %(organization_id)s
        and usage.day >= %(first)s::date
        and usage.day < %(last)s::date + 1
    group by usage.agent_id
),
known as (
    select
        {listed_agent},
        case when agents.deleted_at is null then agents.status else 'deleted' end as status,
        each.tokens,
        each.requests,
        each.rejected,
        each.token_day,
        each.request_day,
        each.rejection_day,
        count(*) over () as all_agents,
        coalesce(sum(each.tokens) over (), 0)::bigint as all_tokens
    from (
        -- No join, which takes quadratic time if the planner expects few agents.
        select
            either.agent_id,
            sum(either.tokens)::bigint as tokens,
            sum(either.requests)::bigint as requests,
            sum(either.rejected)::bigint as rejected,
            max(either.token_day) as token_day,
            max(either.request_day) as request_day,
            max(either.rejection_day) as rejection_day
        from (
            select agent_id, tokens, requests, rejected, token_day, request_day, rejection_day
            from counted
            union all
            select agent_id, 0, 0, 0, null, null, null
            from agents
            where organization_id = %(organization_id)s and deleted_at is null
        ) as either
        group by either.agent_id
    ) as each
    cross join lateral (
        select {listed_agent}, agents.status, agents.deleted_at
        from agents
        where organization_id = %(organization_id)s and agent_id = each.agent_id
        offset 0
    ) as agents
),
sorted as (
    select
        known.*,
        case %(sort)s::text
            when 'tokens' then known.tokens
            when 'requests' then known.requests
            when 'rejected' then known.rejected
            else (chosen.day - date '2000-01-01') * 24 + chosen_hour.hour
        end as rank
    from known
    cross join lateral (
        select case %(sort)s::text when 'last_token' then known.token_day when 'last_request' then known.request_day
            when 'last_rejection' then known.rejection_day end as day
        offset 0
    ) as chosen
    -- Of all agents, as the page that is shown depends on it; nothing is read if the list is sorted by something else.
    cross join lateral (
        select max(cell.ordinal) as hour
        from agent_usage_daily as usage
        cross join lateral unnest(
            case %(sort)s::text when 'last_token' then usage.tokens_by_hour
                when 'last_request' then usage.requests_by_hour else usage.rejected_by_hour end
        ) with ordinality as cell (amount, ordinal)
        where
            usage.organization_id = %(organization_id)s
            and usage.day = chosen.day
            and usage.agent_id = known.agent_id
            and cell.amount > 0
        offset 0
    ) as chosen_hour
),
listed as (
    select
        sorted.*,
        count(*) over () as matches,
        row_number() over (
            order by
                case when %(descending)s::boolean then -sorted.rank else sorted.rank end nulls last,
                case when %(sort)s::text = 'name' and %(descending)s::boolean then lower(sorted.name) end desc,
                case when %(sort)s::text = 'name' then lower(sorted.name) end,
                sorted.tokens desc, sorted.requests desc, sorted.name, sorted.agent_id
        ) as place
    from sorted
    where
        (%(status)s::text is null or sorted.status = %(status)s::text)
        and (%(agent_ids)s::uuid[] is null or sorted.agent_id = any (%(agent_ids)s::uuid[]))
        and strpos(lower(concat_ws(' ', name, agent_id, description, owner)), lower(%(search)s::text)) > 0
    order by place
    limit %(limit)s offset %(offset)s
)
select listed.*, last_hours.token_hour, last_hours.request_hour, last_hours.rejection_hour
from listed
left join lateral (
    select
        max(cell.ordinal) filter (where usage.day = listed.token_day and cell.tokens > 0) - 1 as token_hour,
        max(cell.ordinal) filter (where usage.day = listed.request_day and cell.requests > 0) - 1 as request_hour,
        max(cell.ordinal) filter (where usage.day = listed.rejection_day and cell.rejected > 0) - 1 as rejection_hour
    from unnest(array[listed.token_day, listed.request_day, listed.rejection_day]) as last (day)
    cross join lateral (select last.day offset 0) as calendar
    cross join lateral (
        select counted.day, counted.tokens_by_hour, counted.requests_by_hour, counted.rejected_by_hour
        from agent_usage_daily as counted
        where
            counted.organization_id = %(organization_id)s
            and counted.day = calendar.day
            and counted.agent_id = listed.agent_id
        offset 0
    ) as usage
    cross join lateral unnest(usage.tokens_by_hour, usage.requests_by_hour, usage.rejected_by_hour)
        with ordinality as cell (tokens, requests, rejected, ordinal)
) as last_hours on true
order by listed.place
