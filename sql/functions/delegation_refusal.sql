-- Why nobody may act by a delegation any more, in the words of the log, or null. Runs in the transaction's view of the organization.
-- Parameters: p_organization_id; p_agent_ids: who acts and for whom, each once; p_jtis: of the tokens that it is about and
-- came from; p_rule_id: the rule that has accepted another issuer's token, or null.
create or replace function delegation_refusal(
    p_organization_id text,
    p_agent_ids uuid[],
    p_jtis text[],
    p_rule_id uuid
) returns text
language plpgsql as $$
declare
    v_agent_id uuid;
begin
    -- One after the other: without statistics, PostgreSQL 15 reads all agents for "any".
    foreach v_agent_id in array p_agent_ids loop
        perform
        from agents
        where
            organization_id = p_organization_id and agent_id = v_agent_id
            and status = 'active' and coalesce(deleted_at, 'infinity') = 'infinity';
        if not found then
            return 'subject or actor ended';
        end if;
    end loop;
    perform
    from revoked_tokens
    -- The first argument's collation, which is "C", would apply to this one, and the index has another.
    where organization_id = p_organization_id and jti = any (p_jtis collate "default");
    if found then
        return 'subject token revoked';
    end if;
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
