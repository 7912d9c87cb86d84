-- Issues a token for an exchange with scopes that the subject has too. The function decides whether the subject's token is
-- acceptable (chain_refusal, runs_resource_server), reads the scopes of the subject's agent or of the delegation rule, limits these
-- scopes to those for the resource (delegated_scopes), authenticates the client and issues the token (issue_token), and counts the
-- token for the subject (count_delegation). exchange_token restricts the transaction to the organization's rows. The statement
-- oauth/exchange_token describes the result and the parameters.
--
-- The caller reads the outcome in this order:
-- 1. No row: the client is not authentic.
-- 2. refusal is not null: the subject's token is not acceptable.
-- 3. is_target_known is false: the resource server is unknown or is for a cloud such as AWS, or the subject has no scopes there.
-- 4. is_proof_missing is true: the request needs a DPoP proof.
-- 5. scope is null: an enforced quota is exhausted, or the agent or the subject lacks a scope.
-- 6. Otherwise the token is issued and counted.
create or replace function exchange_token(
    p_organization_id text,
    p_agent_id uuid,
    p_at timestamptz, p_day date, p_hour integer,
    p_secret_hash bytea,
    p_key_or_rule jsonb, p_digest bytea, p_expires_at timestamptz,
    p_scope text[], p_resource text,
    p_has_proof boolean,
    p_subject_agent_id uuid, p_issuer text, p_rule_id uuid,
    p_agent_ids uuid[], p_issued_at timestamptz[], p_jtis text[], p_ancestors jsonb, p_max_scopes text[],
    p_is_bound boolean, p_refusal text,
    p_durable boolean
) returns table (
    is_target_known boolean, is_proof_missing boolean, scope text, quotas text, exhausted text,
    audience text, token_ttl integer, subject text, refusal text
)
language plpgsql as $$
declare
    v_subject_scopes text[]; -- the scopes of the subject's agent, or the rule's scopes for the resource; null without either
    v_actor_scopes text[];
    v_client_host text;
    v_resources jsonb;
    v_delegated_scopes text[]; -- the scopes in v_subject_scopes that the token may have; null if the target is unknown
    v_scope text[]; -- the scopes to grant; null if the target or the scope is refused, so issue_token only authenticates
    -- Nothing reads these two variables. Assigning the functions' results to them is faster than "perform".
    v_ignored_text text;
    v_ignored_boolean boolean;
begin
    v_ignored_text := enter_organization(p_organization_id, p_durable);
    -- Takes the issuance lock of issue_token before the checks, so that no agent or token ends between the checks and the issuance.
    perform pg_advisory_xact_lock_shared(hashtext(p_organization_id), 16);
    refusal := coalesce(p_refusal, chain_refusal(
        p_organization_id, p_agent_ids, p_issued_at, p_jtis,
        -- The audience of the subject's token (element 0) is left out, because runs_resource_server below checks this audience,
        -- more strictly than chain_refusal.
        array(select aud #>> '{}' from jsonb_path_query(p_ancestors, '$[1 to last].aud') as aud), p_rule_id
    ));
    if
        refusal is null and p_ancestors <> '[]'
        and not runs_resource_server(p_organization_id, p_agent_id, p_ancestors -> 0 ->> 'aud')
    then
        refusal := 'subject token for another';
    end if;
    if refusal is null then
        -- One statement reads the rows of the subject's agent and of the client's agent. Each filter leaves at most one row,
        -- whose value max() returns.
        select
            max(agents.scopes) filter (where agent_id = p_subject_agent_id),
            max(agents.scopes) filter (where agent_id = p_agent_id),
            split_part(max(agents.client_uri) filter (where agent_id = p_agent_id), '/', 3)
        into v_subject_scopes, v_actor_scopes, v_client_host
        from agents
        where organization_id = p_organization_id and agent_id in (p_subject_agent_id, p_agent_id);
        if p_rule_id is not null then
            select resources
            into v_resources
            from delegation_rules
            where
                organization_id = p_organization_id and delegation_rule_id = p_rule_id
                and (p_agent_id = any (agent_ids) or v_client_host = any (client_hosts));
            -- If there is no row, the rule has let an earlier agent act for the subject, but does not name this agent. A rule
            -- names agents in agent_ids, and in client_hosts the hosts of the apps' client ID metadata documents. Apps act only
            -- by grants of people (redeem_grant).
            if not found then
                refusal := 'no delegation rule';
            end if;
            v_subject_scopes := (
                select array(select jsonb_array_elements_text(allowed.value -> 'scopes'))
                from jsonb_array_elements(v_resources) as allowed
                where allowed.value ->> 'resource' = p_resource
            );
        end if;
        v_delegated_scopes := delegated_scopes(
            p_organization_id, p_resource, v_subject_scopes, p_max_scopes, p_ancestors
        );
        if p_scope is null then
            -- If no scope is requested, the token gets the scopes that agent, subject and resource have in common, in the agent's
            -- order. If there are none, v_scope stays null, so that the scope is refused, whereas issue_token would issue a token
            -- without scopes.
            v_scope := nullif(array(
                select actor_scopes.scope
                from unnest(v_actor_scopes) with ordinality as actor_scopes (scope, ordinal)
                where actor_scopes.scope = any (v_delegated_scopes)
                order by actor_scopes.ordinal
            ), '{}');
        elsif p_scope <@ v_delegated_scopes then
            v_scope := p_scope;
        end if;
    end if;
    -- issue_token authenticates the client even if the request is refused, because only an authentic client learns the reason.
    -- issue_token does not read p_own_scopes, because p_resource is never null.
    select
        issued.is_target_known and v_delegated_scopes is not null,
        issued.is_proof_missing or (p_is_bound and not p_has_proof),
        issued.scope, issued.quotas, issued.exhausted, issued.audience, issued.token_ttl, issued.subject
    into is_target_known, is_proof_missing, scope, quotas, exhausted, audience, token_ttl, subject
    from issue_token(
        p_organization_id => p_organization_id, p_agent_id => p_agent_id,
        p_at => p_at, p_day => p_day, p_hour => p_hour, p_secret_hash => p_secret_hash,
        p_key_or_rule => p_key_or_rule, p_digest => p_digest, p_expires_at => p_expires_at,
        p_scope => v_scope, p_own_scopes => '{}', p_resource => p_resource, p_has_proof => p_has_proof,
        p_authenticates_only => v_scope is null or (p_is_bound and not p_has_proof),
        p_is_counted => true, p_durable => p_durable
    ) as issued;
    if not found then
        return;
    end if;
    if scope is not null then
        v_ignored_boolean := count_delegation(
            p_organization_id, p_agent_id, p_subject_agent_id, p_issuer, p_resource, p_day
        );
    end if;
    return next;
end $$;
