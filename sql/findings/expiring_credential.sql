-- Returns the credentials that expire after "since" and by "until", are not revoked, and belong to agents that can use them. One
-- row per credential, earliest expiry first: agent_id, agent_name, credential_id, label (or null), created_at, expires_at,
-- last_used_at (or null), and moved_at: the last use of a credential of the same agent that expires later (or null).
-- Parameters: organization_id; since, until (timestamptz); max_credentials.
--
-- pages: 45000, two credentials of each of ten thousand agents
-- fleet-pages: 1000
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
        select max(others.last_used_at)
        from credentials as others
        where
            others.organization_id = %(organization_id)s
            and others.agent_id = expiring.agent_id
            and others.revoked_at is null
            and coalesce(others.expires_at, 'infinity') > expiring.expires_at
    ) as moved_at
from expiring
-- "offset 0" and this condition on deleted_at make the planner look up each agent by its key.
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
