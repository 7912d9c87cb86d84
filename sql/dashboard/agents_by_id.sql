-- Some of an organization's agents with their usage in a period, by id, so that a further call goes on after the last one
-- whatever was counted meanwhile. One row an agent, in order: the columns of dashboard/agents but place, matches, all_agents
-- and all_tokens.
-- Parameters: organization_id; after (uuid): agents with greater ids only; first, last, search, status and agent_ids as in
-- dashboard/agents; limit.
-- Day by day for each agent, so that a search that few agents match reads only theirs.
with chosen as (
    select known.*
    from (
        select
            agents.agent_id,
            agents.name,
            agents.description,
            agents.owner,
            case when agents.deleted_at is null then agents.status else 'deleted' end as status
        from agents
        where
            agents.organization_id = %(organization_id)s
            and agents.agent_id > %(after)s::uuid
    ) as known
    where
        (%(status)s::text is null or known.status = %(status)s::text)
        and (%(agent_ids)s::uuid[] is null or known.agent_id = any (%(agent_ids)s::uuid[]))
        and strpos(lower(concat_ws(' ', name, agent_id, description, owner)), lower(%(search)s::text)) > 0
        and (known.status <> 'deleted' or exists (
            select
            from generate_series(0, %(last)s::date - %(first)s::date) as since (days)
            cross join lateral (select %(first)s::date + since.days as day offset 0) as calendar
            cross join lateral (
                select from agent_usage_daily as counted
                where
                    counted.organization_id = %(organization_id)s
                    and counted.day = calendar.day
                    and counted.agent_id = known.agent_id
                offset 0
            ) as usage
        ))
    order by known.agent_id
    limit %(limit)s
)
select
    chosen.*,
    counted.tokens,
    counted.requests,
    counted.rejected,
    counted.token_day,
    counted.request_day,
    counted.rejection_day,
    last_hours.token_hour,
    last_hours.request_hour,
    last_hours.rejection_hour
from chosen
cross join lateral (
    select
        coalesce(sum(usage.tokens), 0)::bigint as tokens,
        coalesce(sum(usage.requests), 0)::bigint as requests,
        coalesce(sum(usage.rejected), 0)::bigint as rejected,
        max(usage.day) filter (where usage.tokens > 0) as token_day,
        max(usage.day) filter (where usage.requests > 0) as request_day,
        max(usage.day) filter (where usage.rejected > 0) as rejection_day
    from generate_series(0, %(last)s::date - %(first)s::date) as since (days)
    cross join lateral (select %(first)s::date + since.days as day offset 0) as calendar
    cross join lateral (
        select counted.day, counted.tokens, counted.requests, counted.rejected
        from agent_usage_daily as counted
        where
            counted.organization_id = %(organization_id)s
            and counted.day = calendar.day
            and counted.agent_id = chosen.agent_id
        offset 0
    ) as usage
) as counted
cross join lateral (
    select
        max(cell.ordinal) filter (where usage.day = counted.token_day and cell.tokens > 0) - 1 as token_hour,
        max(cell.ordinal) filter (where usage.day = counted.request_day and cell.requests > 0) - 1 as request_hour,
        max(cell.ordinal) filter (where usage.day = counted.rejection_day and cell.rejected > 0) - 1 as rejection_hour
    from agent_usage_daily as usage
    cross join lateral unnest(usage.tokens_by_hour, usage.requests_by_hour, usage.rejected_by_hour)
        with ordinality as cell (tokens, requests, rejected, ordinal)
    where
        usage.organization_id = %(organization_id)s
        and usage.day in (counted.token_day, counted.request_day, counted.rejection_day)
        and usage.agent_id = chosen.agent_id
) as last_hours
order by chosen.agent_id
