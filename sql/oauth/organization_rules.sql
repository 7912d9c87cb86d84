-- The rules of trust of an organization that are in force at "at", of one active agent or of all. One row per rule, the oldest
-- first: agent_id, credential_id, trust.
-- Parameters: organization_id; agent_id (or null); most: the maximum number; at (timestamptz).
--
-- example: agent_id=null
select rules.agent_id, rules.credential_id, rules.trust
from (
    -- Each rule has a subject or more, and few credentials are rules.
    select distinct credential_id
    from trusted_subjects
    where organization_id = %(organization_id)s and (%(agent_id)s::uuid is null or agent_id = %(agent_id)s::uuid)
) as known
cross join lateral (
    select agent_id, credential_id, trust, created_at
    from client_credentials
    where
        organization_id = %(organization_id)s
        and credential_id = known.credential_id
        and (expires_at is null or expires_at > %(at)s)
    offset 0
) as rules
order by rules.created_at, rules.credential_id
limit %(most)s
