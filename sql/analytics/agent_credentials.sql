-- Returns the credentials of one agent that were not revoked before a day, one row per credential.
-- Parameters: organization_id; agent_id; first: the day.
-- Two selects, because one index has the credentials that are not revoked, and another index has the revoked credentials.
select {credential_use}
from credentials
where organization_id = %(organization_id)s and agent_id = %(agent_id)s and revoked_at is null
union all
select {credential_use}
from credentials
where
    organization_id = %(organization_id)s and agent_id = %(agent_id)s
    and revoked_at >= %(first)s::date::timestamp at time zone 'UTC'
