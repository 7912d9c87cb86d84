-- Counts a token that a quota has refused, or would have refused if the quota were enforced. Returns true.
--
-- Each session uses one of 16 counter rows (slots) per day, so that refusals rarely wait for each other. The function does not call
-- take_slot, because tokens that are issued while a refusal holds a slot would use a higher slot, which adds rows to their counters.
--
-- Parameters: p_organization_id; p_agent_id: the agent that asked for the token; p_day and p_hour (0 to 23): in UTC; p_holder:
-- the quota's holder, agent or organization; p_window: the quota's window; p_is_refused: whether the quota is enforced.
create or replace function count_refusal(
    p_organization_id text,
    p_agent_id uuid,
    p_day date,
    p_hour integer,
    p_holder text,
    p_window text,
    p_is_refused boolean
) returns boolean
language plpgsql as $$
declare
    v_hour constant integer := p_hour + 1;
    v_slot constant smallint := pg_backend_pid() % 16;
begin
    loop
        update quota_refusals_daily
        set
            refused_by_hour[v_hour] = refused_by_hour[v_hour] + p_is_refused::integer,
            observed_by_hour[v_hour] = observed_by_hour[v_hour] + (not p_is_refused)::integer
        where
            organization_id = p_organization_id and day = p_day and agent_id = p_agent_id
            and holder = p_holder and quota_window = p_window and slot = v_slot;
        if found then
            return true;
        end if;
        insert into quota_refusals_daily (
            organization_id, day, agent_id, holder, quota_window, slot, refused_by_hour, observed_by_hour
        )
        values (p_organization_id, p_day, p_agent_id, p_holder, p_window, v_slot, count_nothing(), count_nothing())
        on conflict do nothing;
    end loop;
end $$;
