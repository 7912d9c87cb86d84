-- An organization's next agents by id with their usage in a period, so that a further call goes on after the last one
-- whatever was counted meanwhile. One row an agent, in order: is_listed, and the columns of dashboard/agents but place,
-- matches, all_agents and all_tokens. The last agent looked at has a row even if it is not listed; no row if there is none.
-- Parameters: organization_id; after (uuid): agents with greater ids only; first, last, search, status and agent_ids as in
-- dashboard/agents; limit: how many agents it looks at, listed or not.
--
-- pages: 1000, a search for each day, and the usage of the ids that are looked at
-- fleet-pages: 1600
-- example: first=2026-01-16; last=2026-04-15; search=; status=null; agent_ids=null; limit=50;
--   after=00000000-0000-0000-0000-000000000000
with looked_at as materialized (
    select
        {listed_agent},
        case when agents.deleted_at is null then agents.status else 'deleted' end as status
    from agents
    where agents.organization_id = %(organization_id)s and agents.agent_id > %(after)s::uuid
    order by agents.agent_id
    limit %(limit)s
),
last_one as materialized (select agent_id from looked_at order by agent_id desc limit 1),
-- A range of ids on each day, not each agent's key: most deleted agents have no usage.
counted as materialized (
    select
        usage.agent_id,
        sum(usage.tokens)::bigint as tokens,
        sum(usage.requests)::bigint as requests,
        sum(usage.rejected)::bigint as rejected,
        max(usage.day) filter (where usage.tokens > 0) as token_day,
        max(usage.day) filter (where usage.requests > 0) as request_day,
        max(usage.day) filter (where usage.rejected > 0) as rejection_day
    from generate_series(0, %(last)s::date - %(first)s::date) as since (days)
    cross join lateral (select %(first)s::date + since.days as day offset 0) as calendar
    cross join lateral (
        select by_id.agent_id, by_id.day, by_id.tokens, by_id.requests, by_id.rejected
        from agent_usage_daily as by_id
        where
            by_id.organization_id = %(organization_id)s
            and by_id.day = calendar.day
            and by_id.agent_id > %(after)s::uuid
            and by_id.agent_id <= (select last_one.agent_id from last_one)
        offset 0
    ) as usage
    group by usage.agent_id
),
known as (
    select
        looked_at.*,
        coalesce(counted.tokens, 0) as tokens,
        coalesce(counted.requests, 0) as requests,
        coalesce(counted.rejected, 0) as rejected,
        counted.token_day, counted.request_day, counted.rejection_day,
        (looked_at.status <> 'deleted' or counted.agent_id is not null)
        and (%(status)s::text is null or looked_at.status = %(status)s::text)
        and (%(agent_ids)s::uuid[] is null or looked_at.agent_id = any (%(agent_ids)s::uuid[]))
        and strpos(lower(concat_ws(' ', name, agent_id, description, owner)), lower(%(search)s::text)) > 0 as is_listed
    from looked_at
    left join counted using (agent_id)
)
select known.*, last_hours.token_hour, last_hours.request_hour, last_hours.rejection_hour
from known
cross join last_one
cross join lateral (
    select
        max(cell.ordinal) filter (where usage.day = known.token_day and cell.tokens > 0) - 1 as token_hour,
        max(cell.ordinal) filter (where usage.day = known.request_day and cell.requests > 0) - 1 as request_hour,
        max(cell.ordinal) filter (where usage.day = known.rejection_day and cell.rejected > 0) - 1 as rejection_hour
    from unnest(array[known.token_day, known.request_day, known.rejection_day]) as last (day)
    cross join lateral (select last.day offset 0) as calendar
    cross join lateral (
        select by_key.day, by_key.tokens_by_hour, by_key.requests_by_hour, by_key.rejected_by_hour
        from agent_usage_daily as by_key
        where
            by_key.organization_id = %(organization_id)s
            and by_key.day = calendar.day
            and by_key.agent_id = known.agent_id
        offset 0
    ) as usage
    cross join lateral unnest(usage.tokens_by_hour, usage.requests_by_hour, usage.rejected_by_hour)
        with ordinality as cell (tokens, requests, rejected, ordinal)
) as last_hours
where known.is_listed or known.agent_id = last_one.agent_id
order by known.agent_id
