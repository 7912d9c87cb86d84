-- Returns the credentials of active agents that are not revoked and expire after "since" and by "until". One row per credential,
-- earliest expiry first: agent_id, agent_name, credential_id, label (or null), created_at, expires_at; last_used_at (null: never);
-- moved_at: the last use of the agent's credentials that expire later than the returned credential, or never (null: no use).
-- Parameters: organization_id; since and until (timestamptz); max_credentials.
--
-- max-pages-read: 45000, for two credentials of each of ten thousand agents
-- max-pages-read-with-1000-agents: 1000
with expiring as materialized (
    select agent_id, credential_id, label, created_at, expires_at, last_used_at
    from credentials
    where
        organization_id = %(organization_id)s
        and revoked_at is null
        and expires_at > %(since)s::timestamptz
        and expires_at <= %(until)s::timestamptz
)
select
    expiring.agent_id,
    agents.name as agent_name,
    expiring.credential_id,
    expiring.label,
    expiring.created_at,
    expiring.expires_at,
    expiring.last_used_at,
    (
        select max(later_credentials.last_used_at)
        from credentials as later_credentials
        where
            later_credentials.organization_id = %(organization_id)s
            and later_credentials.agent_id = expiring.agent_id
            and later_credentials.revoked_at is null
            and coalesce(later_credentials.expires_at, 'infinity') > expiring.expires_at
    ) as moved_at
from expiring
-- "offset 0" and coalesce() make the planner look up each agent by its key. Otherwise it would read all agents.
cross join lateral (
    select name
    from agents
    where
        organization_id = %(organization_id)s and agent_id = expiring.agent_id
        and status = 'active' and coalesce(deleted_at, 'infinity') = 'infinity'
    offset 0
) as agents
order by expiring.expires_at, expiring.credential_id
limit %(max_credentials)s::integer
