-- Adds requests and rejected requests to the counters of an organization and of its agent for an hour. take_slot chooses the rows.
-- The organization's row is always locked first, so that no two transactions wait for each other. count_token counts tokens.
--
-- Returns the slot. Parameters: p_organization_id; p_agent_id; p_day and p_hour (0 to 23): in UTC; p_requests and p_rejected:
-- the numbers to add.
create or replace function count_usage(
    p_organization_id text,
    p_agent_id uuid,
    p_day date,
    p_hour integer,
    p_requests integer,
    p_rejected integer
) returns smallint
language plpgsql as $$
declare
    v_slot constant smallint := take_slot(p_organization_id);
    v_hour integer := p_hour + 1;
    -- Whether no request was rejected. The updates then leave out the counters of rejected requests, because adding zero to them
    -- would take a tenth of the time of counting a request.
    v_is_request boolean := p_rejected = 0;
begin
    loop
        if v_is_request then
            update usage_daily set requests_by_hour[v_hour] = requests_by_hour[v_hour] + p_requests
            where organization_id = p_organization_id and day = p_day and slot = v_slot;
        else
            update usage_daily
            set
                requests_by_hour[v_hour] = requests_by_hour[v_hour] + p_requests,
                rejected_by_hour[v_hour] = rejected_by_hour[v_hour] + p_rejected
            where organization_id = p_organization_id and day = p_day and slot = v_slot;
        end if;
        exit when found;
        -- Inserts the row for the day's first request in the slot, unless another transaction that shares the slot has just
        -- inserted it.
        insert into usage_daily (organization_id, day, slot, tokens, tokens_by_hour, requests_by_hour, rejected_by_hour)
        values (p_organization_id, p_day, v_slot, 0, count_nothing(), count_nothing(), count_nothing())
        on conflict do nothing;
    end loop;
    loop
        if v_is_request then
            update agent_usage_daily
            set requests = requests + p_requests, requests_by_hour[v_hour] = requests_by_hour[v_hour] + p_requests
            where organization_id = p_organization_id and day = p_day and agent_id = p_agent_id and slot = v_slot;
        else
            update agent_usage_daily
            set
                requests = requests + p_requests,
                rejected = rejected + p_rejected,
                requests_by_hour[v_hour] = requests_by_hour[v_hour] + p_requests,
                rejected_by_hour[v_hour] = rejected_by_hour[v_hour] + p_rejected
            where organization_id = p_organization_id and day = p_day and agent_id = p_agent_id and slot = v_slot;
        end if;
        exit when found;
        insert into agent_usage_daily (
            organization_id, day, agent_id, slot, tokens, requests, rejected, tokens_by_hour, requests_by_hour, rejected_by_hour
        )
        values (p_organization_id, p_day, p_agent_id, v_slot, 0, 0, 0, count_nothing(), count_nothing(), count_nothing())
        on conflict do nothing;
    end loop;
    return v_slot;
end $$;
