-- The rules of trust of a client for tokens of some issuers. One row per rule of an active agent that is in force at "at", oldest
-- first: trust, credential_id.
-- Parameters: organization_id; agent_id; issuers (text[]): the possible issuers of the token; at (timestamptz).
--
-- example: issuers={https://issuer.example}
select credentials.trust, credentials.credential_id
from active_agents
join credentials using (organization_id, agent_id)
where
    organization_id = %(organization_id)s
    and agent_id = %(agent_id)s
    and is_credential_in_force(credentials.expires_at, credentials.revoked_at, %(at)s)
    and credentials.trust ->> 'issuer' = any (%(issuers)s::text[])
order by credentials.created_at, credentials.credential_id
