-- Authenticates a client and returns whether a verified token of its organization is active. inspect_token restricts the
-- transaction to the organization's rows. The statement oauth/introspect_token describes the result and the parameters.
create or replace function inspect_token(
    p_organization_id text,
    p_agent_id uuid,
    p_at timestamptz,
    p_secret_hash bytea,
    p_jwk jsonb, -- key_or_rule of oauth/issue_access_token
    p_digest bytea, p_expires_at timestamptz,
    p_token_agent_id uuid, p_jti text, p_issued_at timestamptz, p_audience text,
    p_own_resource text,
    p_delegation_agent_ids uuid[], p_delegation_jtis text[], p_delegation_audiences text[],
    p_delegation_rule_id uuid,
    p_durable boolean
) returns table (scopes text[], is_active boolean)
language plpgsql as $$
declare
    v_agent record;
    v_credential record;
    v_is_active boolean;
    -- Nothing reads these two variables. Assigning the functions' results to them is faster than "perform".
    v_ignored_text text;
    v_ignored_boolean boolean;
begin
    v_ignored_text := enter_organization(p_organization_id, p_durable);
    -- The function reads the organization, the agent and the credential even if one of them is missing, so that its duration does
    -- not reveal whether the client exists.
    perform from organizations where organization_id = p_organization_id and is_active_organization(suspended_at);
    v_is_active := found;
    select agents.scopes, tokens_not_before
    into v_agent
    from agents
    where organization_id = p_organization_id and agent_id = p_agent_id and is_active_agent(status, deleted_at);
    v_is_active := v_is_active and found;
    select credential_id, last_used_at
    into v_credential
    from credentials
    where
        organization_id = p_organization_id and agent_id = p_agent_id
        and is_credential_presented(secret_hash, jwks, trust, p_secret_hash, p_jwk)
        and is_credential_in_force(expires_at, revoked_at, p_at)
    limit 1;
    if not found or not v_is_active then
        return;
    end if;
    if p_digest is not null then
        v_ignored_boolean := consume_identifier(p_organization_id, p_digest, p_expires_at, p_at);
    end if;
    -- Introspection updates last_used_at too, because people look at last_used_at to see whether an old secret is still used.
    if v_credential.last_used_at is null or v_credential.last_used_at < p_at - interval '1 minute' then
        update credentials
        set last_used_at = p_at
        where
            organization_id = p_organization_id and credential_id = v_credential.credential_id
            and (last_used_at is null or last_used_at < p_at - interval '1 minute');
    end if;
    scopes := v_agent.scopes;
    is_active := coalesce(p_audience = p_own_resource, false)
        or held_resource_scopes(p_organization_id, p_audience) is not null;
    if is_active and p_token_agent_id = p_agent_id then
        is_active := is_token_in_force(v_agent.tokens_not_before, p_issued_at);
    elsif is_active then
        perform
        from agents
        where
            organization_id = p_organization_id and agent_id = p_token_agent_id
            and is_active_agent(status, deleted_at) and is_token_in_force(tokens_not_before, p_issued_at);
        is_active := found;
    end if;
    if is_active then
        perform
        from revoked_tokens
        -- The comparison can use the index only with collate "default". Otherwise PostgreSQL would compare in "C", because it gives
        -- all parameters of a function the collation of p_organization_id.
        where organization_id = p_organization_id and jti = p_jti collate "default";
        is_active := not found;
    end if;
    if is_active and p_delegation_agent_ids is not null then
        is_active := chain_refusal(
            p_organization_id, p_delegation_agent_ids,
            array_fill(p_issued_at, array[cardinality(p_delegation_agent_ids)]),
            p_delegation_jtis, p_delegation_audiences, p_delegation_rule_id
        ) is null;
    end if;
    return next;
end $$;
