-- The rules of trust by which tokens of an issuer are a client's. One row per rule of an active agent, of a credential that
-- is neither revoked nor expired at "at", oldest first: trust, and credential_id.
-- Parameters: organization_id; agent_id; issuers (text[]): whose token it may be; at (timestamptz).
--
-- example: issuers={https://issuer.example}
select trust, credential_id
from client_credentials
where
    organization_id = %(organization_id)s
    and agent_id = %(agent_id)s
    and (expires_at is null or expires_at > %(at)s)
    and trust ->> 'issuer' = any (%(issuers)s::text[])
order by created_at, credential_id
