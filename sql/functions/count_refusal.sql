-- Counts that a quota has refused a token, or would have refused it if it were enforced. Returns true.
--
-- Parameters: p_organization_id; p_agent_id: which asked for the token; p_day and p_hour (0 to 23): in UTC; p_holder: whose
-- quota it is, agent or organization; p_window: of the quota; p_slot: in which the caller counts the token, so that
-- tokens that are issued at the same time do not wait for one another; p_refused, p_observed: how many of each.
create or replace function count_refusal(
    p_organization_id text,
    p_agent_id uuid,
    p_day date,
    p_hour integer,
    p_holder text,
    p_window text,
    p_slot smallint,
    p_refused integer,
    p_observed integer
) returns boolean
language plpgsql as $$
declare
    v_hour integer := p_hour + 1;
begin
    loop
        update quota_refusals_daily
        set
            refused_by_hour[v_hour] = refused_by_hour[v_hour] + p_refused,
            observed_by_hour[v_hour] = observed_by_hour[v_hour] + p_observed
        where
            organization_id = p_organization_id and day = p_day and agent_id = p_agent_id
            and holder = p_holder and quota_window = p_window and slot = p_slot;
        if found then
            return true;
        end if;
        insert into quota_refusals_daily (
            organization_id, day, agent_id, holder, quota_window, slot, refused_by_hour, observed_by_hour
        )
        values (p_organization_id, p_day, p_agent_id, p_holder, p_window, p_slot, count_nothing(), count_nothing())
        on conflict do nothing;
    end loop;
end $$;
