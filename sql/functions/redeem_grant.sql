-- Issues a token for the code or the refresh token of a grant, and replaces the code or refresh token by the next refresh token.
-- exchange_token authenticates the client, decides whether the agent may act by the grant's rule, and counts the token.
-- redeem_grant restricts the transaction to the organization's rows. The statement grants/redeem_grant describes the result and
-- the parameters.
create or replace function redeem_grant(
    p_organization_id text,
    p_agent_id uuid,
    p_at timestamptz, p_day date, p_hour integer,
    p_secret_hash bytea,
    p_jwk jsonb, -- key_or_rule of oauth/issue_access_token
    p_digest bytea, p_expires_at timestamptz,
    p_scope text[], p_resource text,
    p_jkt text,
    p_grant_id uuid, p_token_digest bytea, p_next_digest bytea,
    p_challenge text, p_redirect_uri text,
    p_durable boolean
) returns table (
    is_target_known boolean, is_proof_missing boolean, scope text, quotas text, exhausted text,
    audience text, token_ttl integer, subject text, refusal text,
    resource text, issuer text, delegation_rule_id uuid, subject_encrypted bytea, ends_at timestamptz
)
language plpgsql as $$
declare
    v_grant record;
    v_is_public constant boolean := coalesce(p_jwk = '["none"]', false);
    v_refusal text;
    -- Nothing reads this variable. Assigning the function's result to it is faster than "perform".
    v_ignored_text text;
begin
    v_ignored_text := enter_organization(p_organization_id, p_durable);
    -- The issuance lock of issue_token is taken before the grant's row is locked. In the opposite order, this transaction and a
    -- transaction that ends the grant could wait for each other.
    perform pg_advisory_xact_lock_shared(hashtext(p_organization_id), 16);
    -- If two requests send the same code or refresh token, the second request waits here for the first, and then fails.
    select
        grants.resource, grants.issuer, grants.delegation_rule_id, grants.subject_encrypted, grants.expires_at, grants.scopes,
        grants.token_digest, grants.challenge, grants.redirect_uri, grants.jkt, grants.days, grants.created_at
    into v_grant
    from grants
    where organization_id = p_organization_id and grant_id = p_grant_id and agent_id = p_agent_id
    for update;
    v_refusal := case
        when not found or v_grant.expires_at <= p_at then 'unknown code or refresh token'
        when v_grant.token_digest <> p_token_digest then 'code or refresh token used before'
        when (v_grant.challenge is null) <> (p_challenge is null) then 'wrong grant type'
        when v_grant.challenge <> p_challenge then 'wrong code verifier'
        when v_grant.redirect_uri <> p_redirect_uri then 'wrong redirect URI'
        when v_grant.jkt is not null and v_grant.jkt is distinct from p_jkt then 'code or refresh token of another key'
        when resource_key(v_grant.resource) <> resource_key(p_resource) then 'wrong resource'
    end;
    -- Anybody can send a public client's id, so nothing is written for a wrong code or refresh token, not even last_used_at.
    if v_is_public and v_refusal is not null then
        -- If the agent has no public credential, the sender is not authenticated, so it must neither learn the reason nor end the
        -- grant.
        perform
        from credentials
        where
            organization_id = p_organization_id and agent_id = p_agent_id
            and is_credential_presented(secret_hash, jwks, trust, p_secret_hash, p_jwk)
            and is_credential_in_force(expires_at, revoked_at, p_at);
        refusal := case when found then v_refusal else 'unknown code or refresh token' end;
        return next;
        return;
    end if;
    select
        issued.is_target_known, issued.is_proof_missing, issued.scope, issued.quotas, issued.exhausted, issued.audience,
        issued.token_ttl, issued.subject, issued.refusal
    into is_target_known, is_proof_missing, scope, quotas, exhausted, audience, token_ttl, subject, refusal
    from exchange_token(
        p_organization_id => p_organization_id, p_agent_id => p_agent_id,
        p_at => p_at, p_day => p_day, p_hour => p_hour, p_secret_hash => p_secret_hash,
        p_key_or_rule => p_jwk, p_digest => p_digest, p_expires_at => p_expires_at,
        p_scope => p_scope, p_resource => v_grant.resource, p_has_proof => p_jkt is not null,
        p_subject_agent_id => null, p_issuer => v_grant.issuer, p_rule_id => v_grant.delegation_rule_id,
        p_agent_ids => array[p_agent_id], p_issued_at => array[v_grant.created_at], p_jtis => '{}',
        p_ancestors => '[]', p_max_scopes => v_grant.scopes, p_is_bound => false, p_refusal => v_refusal, p_durable => p_durable
    ) as issued;
    if not found then
        return;
    end if;
    -- Returns the resource and the rule even without a token, because the error for a refused scope needs both.
    resource := v_grant.resource;
    delegation_rule_id := v_grant.delegation_rule_id;
    if scope is not null then
        issuer := v_grant.issuer;
        subject_encrypted := v_grant.subject_encrypted;
        ends_at := v_grant.created_at + make_interval(days => v_grant.days);
        update grants
        set
            token_digest = p_next_digest,
            challenge = null,
            redirect_uri = null,
            -- Only a public client's refresh token is bound to a key. Other clients authenticate (RFC 9449 section 5).
            jkt = case when v_is_public then coalesce(v_grant.jkt, p_jkt) end,
            last_used_at = p_at,
            -- A grant also ends if its agent gets no token for 90 days (RFC 9700 section 4.14.2).
            expires_at = least(ends_at, p_at + interval '2160 hours')
        where organization_id = p_organization_id and grant_id = p_grant_id;
    end if;
    return next;
end $$;
