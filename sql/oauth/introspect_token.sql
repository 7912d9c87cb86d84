-- Authenticates a client and returns whether a verified token of its organization is active. No row for any failed
-- authentication: the conditions are those of issue_access_token. Otherwise one row: scopes, that the client's agent
-- has; is_active, whether the token's agent is active, the token is not revoked, and its audience is our own API or a
-- resource server of the organization, which holds the identifier.
-- Parameters: organization_id; agent_id; at (timestamptz);
-- secret_hash, or null if a key authenticated: then jwk is that key, alone in an array (jsonb), which one of the client's
-- credentials must hold;
-- token_agent_id, jti, audience: of the token, all null if there is none; own_resource: our own API.
with client as materialized (
    select scopes, credential_id
    from client_credentials
    where
        organization_id = %(organization_id)s
        and agent_id = %(agent_id)s
        and (
            secret_hash = %(secret_hash)s::bytea
            or (%(secret_hash)s::bytea is null and jwks @> %(jwk)s::jsonb)
        )
        and (expires_at is null or expires_at > %(at)s)
    limit 1
),
credential_usage as (
    -- As for a token: who replaces a secret waits until this no longer changes.
    update credentials
    set last_used_at = %(at)s
    from client
    where
        credentials.organization_id = %(organization_id)s
        and credentials.credential_id = client.credential_id
        and (credentials.last_used_at is null or credentials.last_used_at < %(at)s - interval '1 minute')
)
select
    scopes,
    exists (
        select
        from active_agents
        where
            organization_id = %(organization_id)s
            and agent_id = %(token_agent_id)s::uuid
    )
    and not exists (
        select
        from revoked_tokens
        where
            organization_id = %(organization_id)s
            and jti = %(jti)s::text
    )
    and (
        %(audience)s::text = %(own_resource)s::text
        or exists (
            select
            from resource_servers
            join resource_identifiers using (organization_id)
            where
                resource_servers.organization_id = %(organization_id)s
                and resource_servers.resource = %(audience)s::text
                and resource_identifiers.resource = resource_key(%(audience)s::text)
        )
    ) as is_active
from client
