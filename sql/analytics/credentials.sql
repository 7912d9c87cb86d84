-- Returns an organization's credentials that were not revoked before a day, including those of deleted agents, one row per
-- credential.
-- Parameters: organization_id; first: the day.
--
-- pages: 1000, the credentials of ten thousand agents
-- fleet-pages: 1000
select
    credential_id, agent_id, label,
    case
        when trust is not null then 'federated' when jwks = '["none"]' then 'public' when jwks is not null then 'key' else 'secret'
    end as type,
    created_at, expires_at, last_used_at, revoked_at
from credentials
where
    organization_id = %(organization_id)s
    and (revoked_at is null or revoked_at >= %(first)s::date::timestamp at time zone 'UTC')
