-- The active agents of which nothing has been counted for so long, and of which no credential has been used; those that have been
-- dormant for longest. One row each: agent_id, agent_name, created_at, updated_at, and last_used_at: of any of its credentials
-- (null: none was ever used); and if the organization lets dormant agents be suspended, suspend_after_days, and suspends_at, if
-- that has been announced.
-- Parameters: organization_id; day; at (timestamptz); days: so long, or, if that is sooner, until notice_days before an agent would
-- be suspended; max_agents.
--
-- pages: 20000, the credentials of each of ten thousand agents, and the days of those that may be dormant
-- fleet-pages: 2000
with threshold as materialized (
    select
        suspend_dormant_after_days,
        -- "least" and "greatest" ignore null.
        %(at)s::timestamptz - make_interval(
            days => least(%(days)s::integer, suspend_dormant_after_days - %(notice_days)s::integer)
        ) as before
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
        threshold.before
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
    where greatest(agents.created_at, used.last_used_at) <= threshold.before
    order by greatest(agents.created_at, used.last_used_at), agents.agent_id
    -- Of these, the days are looked up. Few have counts without the use of a credential, such as imported ones.
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
    from generate_series(0, %(day)s::date - (quiet.before at time zone 'utc')::date) as ago (days)
    -- Each day by itself: the index has the day before the agent.
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
