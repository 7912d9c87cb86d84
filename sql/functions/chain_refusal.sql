-- Returns the reason, for the log, why a token exchange must be refused, or null if it may be accepted. The transaction is already
-- restricted to the organization's rows.
-- Parameters: p_organization_id; p_agent_ids: the actors and the agent for which they act, each once; p_issued_at: for
-- each agent in p_agent_ids, the iat of the agent's token, or of a newer token for which that token was exchanged. The iat is null
-- if the request has no such token; p_jtis: the ids of the exchanged tokens, the grant and the actor's token, none of which may be
-- revoked; p_audiences: the aud of each exchanged token, unless the caller checks the aud; p_rule_id: the delegation rule that
-- accepted the other issuer's token, or null.
create or replace function chain_refusal(
    p_organization_id text,
    p_agent_ids uuid[],
    p_issued_at timestamptz[],
    p_jtis text[],
    p_audiences text[],
    p_rule_id uuid
) returns text
language plpgsql as $$
declare
    v_place integer;
    v_is_in_force boolean;
    v_audience text;
begin
    -- The loop reads one agent at a time, because PostgreSQL 15 without statistics would read all agents for a condition with
    -- "any".
    for v_place in 1 .. cardinality(p_agent_ids) loop
        -- The iat may belong to a newer token, for which the agent's own token was exchanged. The agent's own token is older, so
        -- it has ended too if the newer token has ended.
        select is_token_in_force(tokens_not_before, p_issued_at[v_place])
        into v_is_in_force
        from agents
        where
            organization_id = p_organization_id and agent_id = p_agent_ids[v_place]
            and is_active_agent(status, deleted_at);
        if not found then
            return 'subject or actor ended';
        elsif not v_is_in_force then
            return 'subject token revoked';
        end if;
    end loop;
    perform
    from revoked_tokens
    -- The index serves only comparisons in the default collation. PostgreSQL would otherwise compare in "C", the collation of
    -- p_organization_id, because all parameters of a function get the same collation.
    where organization_id = p_organization_id and jti = any (p_jtis collate "default");
    if found then
        return 'subject token revoked';
    end if;
    -- The audience of a resource server can change. A token is accepted only while the organization still owns its audience.
    foreach v_audience in array p_audiences loop
        if held_resource_scopes(p_organization_id, v_audience) is null then
            return 'audience ended';
        end if;
    end loop;
    if p_rule_id is not null then
        perform
        from delegation_rules
        where organization_id = p_organization_id and delegation_rule_id = p_rule_id;
        if not found then
            return 'delegation rule deleted';
        end if;
    end if;
    return null;
end $$;
