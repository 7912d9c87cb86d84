-- Returns the credentials of one agent that were not revoked before a day, one row per credential.
-- Parameters: organization_id; agent_id; first: the day.
-- Two selects, because one index has the credentials that are not revoked, and another index has the revoked credentials.
select
    credential_id, agent_id, label,
    case
        when trust is not null then 'federated' when jwks = '["none"]' then 'public' when jwks is not null then 'key' else 'secret'
    end as type,
    created_at, expires_at, last_used_at, revoked_at
from credentials
where organization_id = %(organization_id)s and agent_id = %(agent_id)s and revoked_at is null
union all
select
    credential_id, agent_id, label,
    case
        when trust is not null then 'federated' when jwks = '["none"]' then 'public' when jwks is not null then 'key' else 'secret'
    end as type,
    created_at, expires_at, last_used_at, revoked_at
from credentials
where
    organization_id = %(organization_id)s and agent_id = %(agent_id)s
    and revoked_at >= %(first)s::date::timestamp at time zone 'UTC'
