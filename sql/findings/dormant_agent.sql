-- The active agents of which nothing has been counted since the UTC day of "before" began, and of which no credential has been
-- used since then; those that have been dormant for longest. One row each: agent_id, agent_name, created_at, and last_used_at:
-- of any of its credentials (null: none was ever used).
-- Parameters: organization_id; day; before (timestamptz): an agent that was registered later is not dormant; max_agents.
--
-- pages: 20000, the credentials of each of ten thousand agents, and the days of those that may be dormant
-- fleet-pages: 2000
with quiet as materialized (
    select agents.agent_id, agents.name, agents.created_at, used.last_used_at
    from agents
    left join (
        select agent_id, max(last_used_at) as last_used_at
        from credentials
        where organization_id = %(organization_id)s
        group by agent_id
    ) as used using (agent_id)
    where
        agents.organization_id = %(organization_id)s
        and agents.status = 'active'
        and coalesce(agents.deleted_at, 'infinity') = 'infinity'
        -- "greatest" ignores null.
        and greatest(agents.created_at, used.last_used_at) <= %(before)s::timestamptz
    order by greatest(agents.created_at, used.last_used_at), agents.agent_id
    -- Of these, the days are looked up. Few have counts without the use of a credential, such as imported ones.
    limit 5 * %(max_agents)s::integer
)
select quiet.agent_id, quiet.name as agent_name, quiet.created_at, quiet.last_used_at
from quiet
where not exists (
    select
    from generate_series(0, %(day)s::date - (%(before)s::timestamptz at time zone 'utc')::date) as ago (days)
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
