-- Returns an organization's credentials that were not yet revoked when a UTC day began, including credentials of deleted agents,
-- one row per credential.
-- Parameters: organization_id; first: the day.
--
-- max-pages-read: 1000, for the credentials of ten thousand agents
-- max-pages-read-with-1000-agents: 1000
select {credential_use}
from credentials
where
    organization_id = %(organization_id)s
    and (revoked_at is null or revoked_at >= %(first)s::date::timestamp at time zone 'UTC')
