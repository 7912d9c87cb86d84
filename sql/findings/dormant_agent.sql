-- Returns the active agents that have had no usage, and used no credential, for a number of days. One row per agent, longest
-- dormant first: agent_id, agent_name, created_at, updated_at; last_used_at: the last use of a credential
-- of the agent (null: never). If the organization suspends dormant agents, suspend_after_days is the number of days after which
-- it does so, and suspends_at is the announced time of the agent's suspension. Otherwise both are null.
-- Parameters: organization_id; day: today in UTC; at (timestamptz): the current time; days: the minimum number of days without
-- usage; notice_days: an agent that will be suspended within this number of days is returned even after fewer days without usage
-- than "days"; max_agents.
--
-- max-pages-read: 20000, for the credentials of ten thousand agents, and the days of agents that may be dormant
-- max-pages-read-with-1000-agents: 2000
with threshold as materialized (
    select
        suspend_dormant_after_days,
        -- suspend_dormant_after_days is null if the organization does not suspend dormant agents. least() ignores null.
        %(at)s::timestamptz - make_interval(
            days => least(%(days)s::integer, suspend_dormant_after_days - %(notice_days)s::integer)
        ) as dormant_since
    from organizations
    where organization_id = %(organization_id)s
),
quiet as materialized (
    select
        agents.agent_id,
        agents.name,
        agents.created_at,
        agents.updated_at,
        used.last_used_at,
        threshold.suspend_dormant_after_days,
        threshold.dormant_since
    from threshold
    join agents
        on agents.organization_id = %(organization_id)s
        and agents.status = 'active'
        and coalesce(agents.deleted_at, 'infinity') = 'infinity'
    left join (
        select agent_id, max(last_used_at) as last_used_at
        from credentials
        where organization_id = %(organization_id)s
        group by agent_id
    ) as used using (agent_id)
    where greatest(agents.created_at, used.last_used_at) <= threshold.dormant_since
    order by greatest(agents.created_at, used.last_used_at), agents.agent_id
    -- This limit exceeds max_agents, because the select below drops agents that had usage without a credential, such as imported
    -- usage.
    limit 5 * %(max_agents)s::integer
)
select
    quiet.agent_id,
    quiet.name as agent_name,
    quiet.created_at,
    quiet.updated_at,
    quiet.last_used_at,
    quiet.suspend_dormant_after_days as suspend_after_days,
    announced.suspends_at
from quiet
left join announced_suspensions as announced
    on announced.organization_id = %(organization_id)s
    and announced.agent_id = quiet.agent_id
    and quiet.suspend_dormant_after_days is not null
where not exists (
    select
    from generate_series(0, %(day)s::date - (quiet.dormant_since at time zone 'utc')::date) as ago (days)
    -- This join looks up each day by its key, because reading a range of days would read the rows of all agents.
    cross join lateral (
        select
        from agent_usage_daily
        where
            organization_id = %(organization_id)s and day = %(day)s::date - ago.days and agent_id = quiet.agent_id
        offset 0
    ) as counted
)
order by greatest(quiet.created_at, quiet.last_used_at), quiet.agent_id
limit %(max_agents)s::integer
