-- Counts a request with a verified token, if the token's agent is active and the token is not revoked. admit_request
-- restricts the transaction to the organization's rows. The statement usage/record_request describes the result and the parameters.
create or replace function admit_request(
    p_organization_id text,
    p_agent_id uuid,
    p_jti text,
    p_issued_at timestamptz,
    p_day date,
    p_hour integer,
    p_durable boolean
) returns setof uuid
language plpgsql as $$
declare
    v_ignored_text text;
    v_slot smallint;
begin
    v_ignored_text := enter_organization(p_organization_id, p_durable);
    perform from organizations where organization_id = p_organization_id and is_active_organization(suspended_at);
    if not found then
        return;
    end if;
    perform
    from agents
    where
        organization_id = p_organization_id and agent_id = p_agent_id and is_active_agent(status, deleted_at)
        and is_token_in_force(tokens_not_before, p_issued_at);
    if not found then
        return;
    end if;
    perform
    from revoked_tokens
    -- The comparison can use the index only with collate "default". Otherwise PostgreSQL would compare in "C", because it gives
    -- all parameters of a function the collation of p_organization_id.
    where organization_id = p_organization_id and jti = p_jti collate "default";
    if not found then
        v_slot := count_usage(p_organization_id, p_agent_id, p_day, p_hour, 1, 0);
        return next p_agent_id;
    end if;
end $$;
