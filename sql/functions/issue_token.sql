-- Authenticates a client, grants the scope for a resource, checks the quotas of the agent and of its organization, and counts the
-- token that is issued at p_at, all or nothing. issue_token restricts the transaction to the organization's rows. The statement
-- oauth/issue_access_token describes the result and the parameters. sql/migrations/0004_conditions.sql defines when an organization
-- or an agent is active, and when a credential is valid.
create or replace function issue_token(
    p_organization_id text,
    p_agent_id uuid,
    p_at timestamptz, p_day date, p_hour integer,
    p_secret_hash bytea,
    p_key_or_rule jsonb,
    p_digest bytea, p_expires_at timestamptz, -- both are about the client's assertion, or null
    p_scope text[], p_own_scopes text[], p_resource text,
    p_has_proof boolean,
    p_authenticates_only boolean, -- true: authenticates the client, grants no scope and counts no token
    p_is_counted boolean,
    p_durable boolean
) returns table (
    is_target_known boolean, is_proof_missing boolean, scope text, quotas text, exhausted text,
    audience text, token_ttl integer, subject text -- the form of the claim sub
)
language plpgsql as $$
declare
    v_organization_quotas bigint[];
    v_agent_scopes text[];
    v_agent_quotas bigint[];
    v_credential record;
    v_target_scopes text[]; -- the scopes of the resource; null if the resource is unknown
    v_owned_identifier text;
    v_granted text[];
    v_quota_check record;
    v_is_active boolean;
    v_must_prove boolean;
    -- Nothing reads these two variables. Assigning the functions' results to them is faster than "perform".
    v_ignored_text text;
    v_ignored_boolean boolean;
begin
    v_ignored_text := enter_organization(p_organization_id, p_durable);
    -- Shares the organization's issuance lock (16) until this transaction ends. A transaction that changes quotas or ends an
    -- agent's tokens waits for this lock (lock_quotas), so that no token is issued under old quotas after the new quotas were
    -- committed. The lock is first tried in an expression without waiting, because an expression is faster than "perform".
    if not pg_try_advisory_xact_lock_shared(hashtext(p_organization_id), 16) then
        perform pg_advisory_xact_lock_shared(hashtext(p_organization_id), 16);
    end if;
    -- Each table has its own statement, because a Citus worker would plan a join again for each token. The rows of the
    -- organization, the agent and the credential are read even if one of them is missing, so that the duration does not reveal
    -- whether the client exists. inspect_token repeats the three statements, because calling a common function would add 6 % to
    -- the time that PostgreSQL takes to issue a token.
    select organizations.quotas
    into v_organization_quotas
    from organizations
    where organization_id = p_organization_id and is_active_organization(suspended_at);
    v_is_active := found;
    select scopes, dpop_bound_access_tokens, agents.quotas
    into v_agent_scopes, v_must_prove, v_agent_quotas
    from agents
    where organization_id = p_organization_id and agent_id = p_agent_id and is_active_agent(status, deleted_at);
    v_is_active := v_is_active and found;
    select credential_id, last_used_at
    into v_credential
    from credentials
    where
        organization_id = p_organization_id and agent_id = p_agent_id
        and is_credential_presented(secret_hash, jwks, trust, p_secret_hash, p_key_or_rule)
        and is_credential_in_force(expires_at, revoked_at, p_at)
    limit 1;
    if not found or not v_is_active then
        return;
    end if;
    if p_resource is null then
        v_target_scopes := p_own_scopes;
    else
        select
            target.scopes, target.audience, target.token_ttl, target.subject, coalesce(target.audience_claim, target.resource)
        into v_target_scopes, audience, token_ttl, subject, v_owned_identifier
        from resource_servers as target
        -- The comparison can use the index only with collate "default". Otherwise PostgreSQL would compare in "C", because it gives
        -- all parameters of a function the collation of p_organization_id.
        where target.organization_id = p_organization_id and target.resource = p_resource collate "default";
        -- There are two statements instead of a join, because on Citus a statement in a function cannot read both the
        -- organization's rows and a table that is on every node.
        if v_target_scopes is not null then
            perform
            from resource_identifiers
            where organization_id = p_organization_id and resource = resource_key(v_owned_identifier);
            if not found then
                v_target_scopes := null;
            end if;
        end if;
    end if;
    is_target_known := v_target_scopes is not null;
    is_proof_missing := v_must_prove and not p_has_proof;
    if is_target_known and not is_proof_missing and not p_authenticates_only then
        if p_scope is not null then
            if p_scope <@ v_agent_scopes and p_scope <@ v_target_scopes then
                v_granted := p_scope;
            end if;
        elsif v_agent_scopes <@ v_target_scopes then
            v_granted := v_agent_scopes;
        else
            -- The token gets the scopes that agent and resource have in common, in the agent's order. If no scope is in
            -- common, the token has no scopes ('{}'), and only shows who the agent is. exchange_token refuses such a token.
            v_granted := array(
                select agent_scopes.scope
                from unnest(v_agent_scopes) with ordinality as agent_scopes (scope, ordinal)
                where agent_scopes.scope = any (v_target_scopes)
                order by agent_scopes.ordinal
            );
        end if;
    end if;
    if v_granted is not null and p_is_counted and (v_agent_quotas is not null or v_organization_quotas is not null) then
        -- apply_quotas runs before any write, because it may wait for the agent's or the organization's advisory lock. The
        -- transaction that has this lock could otherwise wait for a row that this transaction has locked.
        v_quota_check := apply_quotas(
            p_organization_id, p_agent_id, p_day, p_hour, v_agent_quotas, v_organization_quotas
        );
        quotas := v_quota_check.quotas;
        if v_quota_check.exhausted_holder is not null then
            exhausted := v_quota_check.exhausted_holder || ' ' || v_quota_check.exhausted_window;
            v_ignored_boolean := count_refusal(
                p_organization_id, p_agent_id, p_day, p_hour,
                v_quota_check.exhausted_holder, v_quota_check.exhausted_window, v_quota_check.is_enforced
            );
            if v_quota_check.is_enforced then
                v_granted := null;
                if p_digest is null then
                    -- The commit does not wait for the disk, because losing the count of a refusal in a crash is acceptable.
                    v_ignored_text := set_config('synchronous_commit', 'off', true);
                end if;
            end if;
        end if;
    end if;
    if p_digest is not null then
        v_ignored_boolean := consume_identifier(p_organization_id, p_digest, p_expires_at, p_at);
    end if;
    if v_granted is not null and p_is_counted then
        v_ignored_boolean := count_token(
            p_organization_id, p_agent_id, v_credential.credential_id, coalesce(p_resource, ''), p_day, p_hour
        );
    end if;
    -- Requesting a token that is refused is a use of the credential too. The row is updated at most once per minute, because all
    -- token requests of a credential wait for the update.
    if v_credential.last_used_at is null or v_credential.last_used_at < p_at - interval '1 minute' then
        update credentials
        set last_used_at = p_at
        where
            organization_id = p_organization_id and credential_id = v_credential.credential_id
            and (last_used_at is null or last_used_at < p_at - interval '1 minute');
    end if;
    scope := array_to_string(v_granted, ' ');
    return next;
end $$;
