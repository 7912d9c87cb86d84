-- Returns the credentials of an agent that are not revoked, one row per credential, oldest first. Returns one row with a null
-- credential_id if the agent has no credential, and no row if the agent is deleted or does not exist.
-- Parameters: organization_id; agent_id.
select
    credentials.credential_id, credentials.label, credentials.jwks, credentials.trust, credentials.created_at,
    credentials.expires_at, credentials.last_used_at
from agents
left join credentials
    on credentials.organization_id = agents.organization_id
    and credentials.agent_id = agents.agent_id
    and credentials.revoked_at is null
where
    agents.organization_id = %(organization_id)s
    and agents.agent_id = %(agent_id)s
    and is_not_deleted(agents.deleted_at)
order by credentials.created_at, credentials.credential_id
