-- Returns the valid credentials of active agents that have not been used since "before". One row per credential, longest unused
-- first: agent_id, agent_name, credential_id, label (or null), created_at; last_used_at (null: never).
-- Parameters: organization_id; at (timestamptz): the current time; before (timestamptz); max_credentials.
--
-- max-pages-read: 110000, for two credentials of each of ten thousand agents, and the agent of each credential
-- max-pages-read-with-1000-agents: 1000
-- example: before=2026-04-15T11:59:00Z
with unused as materialized (
    select agent_id, credential_id, label, created_at, last_used_at
    from credentials
    where
        organization_id = %(organization_id)s
        and revoked_at is null
        and coalesce(expires_at, 'infinity') > %(at)s::timestamptz
        and coalesce(last_used_at, created_at) <= %(before)s::timestamptz
)
select
    unused.agent_id,
    agents.name as agent_name,
    unused.credential_id,
    unused.label,
    unused.created_at,
    unused.last_used_at
from unused
-- "offset 0" and coalesce() make the planner look up each agent by its key. Otherwise it would read all agents.
cross join lateral (
    select name
    from agents
    where
        organization_id = %(organization_id)s and agent_id = unused.agent_id
        and status = 'active' and coalesce(deleted_at, 'infinity') = 'infinity'
    offset 0
) as agents
order by coalesce(unused.last_used_at, unused.created_at), unused.credential_id
limit %(max_credentials)s::integer
