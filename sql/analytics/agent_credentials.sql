-- Returns the credentials of an agent that were not yet revoked when a UTC day began, one row per credential.
-- Parameters: organization_id; agent_id; first: the day.
-- There are two selects, because revoked credentials and all other credentials have separate indexes.
select {credential_use}
from credentials
where organization_id = %(organization_id)s and agent_id = %(agent_id)s and revoked_at is null
union all
select {credential_use}
from credentials
where
    organization_id = %(organization_id)s and agent_id = %(agent_id)s
    and revoked_at >= %(first)s::date::timestamp at time zone 'UTC'
