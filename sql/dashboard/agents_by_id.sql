-- Returns an organization's next agents in the order of their ids, with their usage in a period. The next call continues after the
-- last id, so no agent is missed if usage is counted between two calls. One row per agent that matches the filters, and a row of
-- the last agent that was read, sorted by id: is_listed: whether the agent matches the filters; and the columns of
-- dashboard/agents except place, matches, all_agents and all_tokens. Returns no row if there is no further agent.
-- Parameters: organization_id; after (uuid): only greater ids are returned; first, last, search, owner, status and agent_ids as
-- in dashboard/agents; limit: the number of agents to read, listed or not.
--
-- max-pages-read: 1000, for each day, the usage of the agents that are read
-- max-pages-read-with-1000-agents: 1600
-- example: first=2026-01-16; last=2026-04-15; search=; owner=null; status=null; agent_ids=null; limit=50;
--   after=00000000-0000-0000-0000-000000000000
with next_agents as materialized (
    select
        {listed_agent},
        case when agents.deleted_at is null then agents.status else 'deleted' end as status
    from agents
    where agents.organization_id = %(organization_id)s and agents.agent_id > %(after)s::uuid
    order by agents.agent_id
    limit %(limit)s
),
last_agent as materialized (select agent_id from next_agents order by agent_id desc limit 1),
-- This select reads a range of ids per day, because most deleted agents have no usage, and looking up each deleted agent would
-- take longer.
counted as materialized (
    select
        usage.agent_id,
        {usage_sums}
    from generate_series(0, %(last)s::date - %(first)s::date) as since (days)
    cross join lateral (select %(first)s::date + since.days as day offset 0) as calendar
    cross join lateral (
        select by_id.agent_id, by_id.day, by_id.tokens, by_id.requests, by_id.rejected
        from agent_usage_daily as by_id
        where
            by_id.organization_id = %(organization_id)s
            and by_id.day = calendar.day
            and by_id.agent_id > %(after)s::uuid
            and by_id.agent_id <= (select last_agent.agent_id from last_agent)
        offset 0
    ) as usage
    group by usage.agent_id
),
listed as (
    select
        next_agents.*,
        coalesce(counted.tokens, 0) as tokens,
        coalesce(counted.requests, 0) as requests,
        coalesce(counted.rejected, 0) as rejected,
        counted.token_day, counted.request_day, counted.rejection_day,
        (next_agents.status <> 'deleted' or counted.agent_id is not null)
        and (%(owner)s::text is null or next_agents.owner = %(owner)s::text)
        and (%(status)s::text is null or next_agents.status = %(status)s::text)
        and (%(agent_ids)s::uuid[] is null or next_agents.agent_id = any (%(agent_ids)s::uuid[]))
        and strpos(lower(concat_ws(' ', name, agent_id, description, owner)), lower(%(search)s::text)) > 0 as is_listed
    from next_agents
    left join counted using (agent_id)
)
select listed.*, last_hours.last_token, last_hours.last_request, last_hours.last_rejection
from listed
cross join last_agent
cross join lateral ({last_hours}) as last_hours
where listed.is_listed or listed.agent_id = last_agent.agent_id
order by listed.agent_id
