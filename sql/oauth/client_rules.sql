-- The rules of trust by which tokens of an issuer are a client's. One row per rule of an active agent, of a credential that
-- is neither revoked nor expired at "at", oldest first: trust, and credential_id.
-- Parameters: organization_id; agent_id; issuers (text[]): whose token it may be; at (timestamptz).
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
