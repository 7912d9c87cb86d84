-- Authenticates a client and returns whether a verified token of its organization is active, in the transaction's view of
-- the organization, which it opens. The statement oauth/introspect_token says what it returns, and what its parameters
-- are.
create or replace function introspect_token(
    p_organization_id text,
    p_agent_id uuid,
    p_at timestamptz,
    p_secret_hash bytea,
    p_jwk jsonb, p_digest bytea, p_expires_at timestamptz,
    p_token_agent_id uuid, p_jti text, p_audience text,
    p_own_resource text,
    p_durable boolean
) returns table (scopes text[], is_active boolean)
language plpgsql as $$
declare
    v_client record;
    v_entered text;
    v_is_consumed boolean;
begin
    v_entered := enter_organization(p_organization_id, p_durable);
    -- The conditions are those of issue_access_token.
    select
        client.credential_id,
        client.scopes,
        client.last_used_at,
        exists (
            select
            from active_agents
            where organization_id = p_organization_id and agent_id = p_token_agent_id
        )
        and not exists (
            select
            from revoked_tokens
            -- The first argument's collation, which is "C", would apply to this one, and the index has another.
            where organization_id = p_organization_id and jti = p_jti collate "default"
        ) as is_active
    into v_client
    from client_credentials as client
    where
        client.organization_id = p_organization_id and client.agent_id = p_agent_id
        and (client.secret_hash = p_secret_hash or (p_secret_hash is null and client.jwks @> p_jwk))
        and (client.expires_at is null or client.expires_at > p_at)
    limit 1;
    if not found then
        return;
    end if;
    if p_digest is not null then
        v_is_consumed := consume_identifier(p_organization_id, p_digest, p_expires_at, p_at);
    end if;
    -- As for a token: who replaces a secret waits until this no longer changes.
    if v_client.last_used_at is null or v_client.last_used_at < p_at - interval '1 minute' then
        update credentials
        set last_used_at = p_at
        where
            organization_id = p_organization_id and credential_id = v_client.credential_id
            and (last_used_at is null or last_used_at < p_at - interval '1 minute');
    end if;
    scopes := v_client.scopes;
    is_active := v_client.is_active and (
        p_audience = p_own_resource or held_resource_scopes(p_organization_id, p_audience) is not null
    );
    return next;
end $$;
