-- Counts a token and its request for the organization and for the agent, and the token for its credential and resource. take_slot
-- chooses the rows, which every transaction locks in this order (organization, agent, credential), so that no two transactions
-- wait for each other. Returns true.
--
-- The function counts the request itself instead of calling count_usage, which adds to more counters and takes longer.
--
-- Parameters: p_organization_id; p_agent_id; p_credential_id; p_resource: empty for our own API; p_day and p_hour (0 to
-- 23): in UTC.
create or replace function count_token(
    p_organization_id text,
    p_agent_id uuid,
    p_credential_id uuid,
    p_resource text,
    p_day date,
    p_hour integer
) returns boolean
language plpgsql as $$
declare
    v_slot constant smallint := take_slot(p_organization_id);
    v_hour integer := p_hour + 1;
begin
    loop
        update usage_daily
        set
            tokens = tokens + 1,
            tokens_by_hour[v_hour] = tokens_by_hour[v_hour] + 1,
            requests_by_hour[v_hour] = requests_by_hour[v_hour] + 1
        where organization_id = p_organization_id and day = p_day and slot = v_slot;
        exit when found;
        -- Inserts the row for the day's first token in the slot, unless another transaction that shares the slot has just inserted
        -- it.
        insert into usage_daily (organization_id, day, slot, tokens, tokens_by_hour, requests_by_hour, rejected_by_hour)
        values (p_organization_id, p_day, v_slot, 0, count_nothing(), count_nothing(), count_nothing())
        on conflict do nothing;
    end loop;
    loop
        update agent_usage_daily
        set
            tokens = tokens + 1,
            requests = requests + 1,
            tokens_by_hour[v_hour] = tokens_by_hour[v_hour] + 1,
            requests_by_hour[v_hour] = requests_by_hour[v_hour] + 1
        where organization_id = p_organization_id and day = p_day and agent_id = p_agent_id and slot = v_slot;
        exit when found;
        insert into agent_usage_daily (
            organization_id, day, agent_id, slot, tokens, requests, rejected, tokens_by_hour, requests_by_hour, rejected_by_hour
        )
        values (p_organization_id, p_day, p_agent_id, v_slot, 0, 0, 0, count_nothing(), count_nothing(), count_nothing())
        on conflict do nothing;
    end loop;
    loop
        update credential_usage_daily
        set tokens = tokens + 1, tokens_by_hour[v_hour] = tokens_by_hour[v_hour] + 1
        where
            organization_id = p_organization_id and day = p_day and agent_id = p_agent_id
            and credential_id = p_credential_id and resource = p_resource and slot = v_slot;
        exit when found;
        insert into credential_usage_daily (
            organization_id, day, agent_id, credential_id, resource, slot, tokens, tokens_by_hour
        )
        values (p_organization_id, p_day, p_agent_id, p_credential_id, p_resource, v_slot, 0, count_nothing())
        on conflict do nothing;
    end loop;
    return true;
end $$;
