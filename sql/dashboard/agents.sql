-- Returns a page of an organization's agents with their usage in a period: all registered agents, and the deleted agents with
-- usage in the period. One row per agent, sorted: agent_id, name, description, owner, status (active, suspended or deleted),
-- tokens, requests, rejected; last_token, last_request, last_rejection: the last hour with a token, request or rejection, or null;
-- the same in each row: matches: the number of agents that match the filters; all_agents and all_tokens: the totals of the
-- organization.
-- Parameters: organization_id; first; last: the first and the last day; search: text that the name, the id, the description or
-- the owner contains, empty for all agents; owner and status: those of the agents, null for all; agent_ids (uuid[]): the
-- only agents to return, null for all; sort: name, tokens, requests, rejected or last_request; descending: whether the greatest
-- values are first (agents without requests are always last when sorted by last_request); limit; offset.
--
-- max-pages-read: 50000, the period's rows of all agents, and each of them
-- max-pages-read-with-1000-agents: 17000
-- example: first=2026-01-16; last=2026-04-15; search=; owner=null; status=null; agent_ids=null; sort=tokens; descending=true;
--   limit=50; offset=0
with counted as materialized (
    select
        usage.agent_id,
        {usage_sums}
    from agent_usage_daily as usage
    where
        usage.organization_id = %(organization_id)s
        and usage.day >= %(first)s::date
        and usage.day < %(last)s::date + 1
    group by usage.agent_id
),
agents_with_usage as (
    select
        {listed_agent},
        case when agents.deleted_at is null then agents.status else 'deleted' end as status,
        usage.tokens,
        usage.requests,
        usage.rejected,
        usage.token_day,
        usage.request_day,
        usage.rejection_day,
        count(*) over () as all_agents,
        coalesce(sum(usage.tokens) over (), 0)::bigint as all_tokens
    from (
        -- This select combines the rows by "group by", because a join takes quadratic time if the planner expects few agents.
        select
            rows_of_agent.agent_id,
            sum(rows_of_agent.tokens)::bigint as tokens,
            sum(rows_of_agent.requests)::bigint as requests,
            sum(rows_of_agent.rejected)::bigint as rejected,
            max(rows_of_agent.token_day) as token_day,
            max(rows_of_agent.request_day) as request_day,
            max(rows_of_agent.rejection_day) as rejection_day
        from (
            select agent_id, tokens, requests, rejected, token_day, request_day, rejection_day
            from counted
            union all
            select agent_id, 0, 0, 0, null, null, null
            from agents
            where organization_id = %(organization_id)s and deleted_at is null
        ) as rows_of_agent
        group by rows_of_agent.agent_id
    ) as usage
    cross join lateral (
        select {listed_agent}, agents.status, agents.deleted_at
        from agents
        where organization_id = %(organization_id)s and agent_id = usage.agent_id
        offset 0
    ) as agents
),
sorted as (
    select
        agents_with_usage.*,
        case %(sort)s::text
            when 'tokens' then agents_with_usage.tokens
            when 'requests' then agents_with_usage.requests
            when 'rejected' then agents_with_usage.rejected
            else (agents_with_usage.request_day - date '2000-01-01') * 24 + sort_hour.hour
        end as rank
    from agents_with_usage
    -- This join reads the hours of all agents only if the list is sorted by last_request.
    cross join lateral (
        select max(cell.ordinal) as hour
        from agent_usage_daily as usage
        cross join lateral unnest(usage.requests_by_hour) with ordinality as cell (amount, ordinal)
        where
            %(sort)s::text = 'last_request'
            and usage.organization_id = %(organization_id)s
            and usage.day = agents_with_usage.request_day
            and usage.agent_id = agents_with_usage.agent_id
            and cell.amount > 0
        offset 0
    ) as sort_hour
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
        (%(owner)s::text is null or sorted.owner = %(owner)s::text)
        and (%(status)s::text is null or sorted.status = %(status)s::text)
        and (%(agent_ids)s::uuid[] is null or sorted.agent_id = any (%(agent_ids)s::uuid[]))
        and strpos(lower(concat_ws(' ', name, agent_id, description, owner)), lower(%(search)s::text)) > 0
    order by place
    limit %(limit)s offset %(offset)s
)
select listed.*, last_hours.last_token, last_hours.last_request, last_hours.last_rejection
from listed
left join lateral ({last_hours}) as last_hours on true
