-- The public keys with which a client may authenticate. One row a credential that has keys and is neither revoked nor
-- expired at "at". Parameters: organization_id; agent_id; at (timestamptz).
select credential_id, jwks
from credentials
where
    organization_id = %(organization_id)s
    and agent_id = %(agent_id)s
    and jwks is not null
    and revoked_at is null
    and (expires_at is null or expires_at > %(at)s)
order by created_at desc, credential_id
