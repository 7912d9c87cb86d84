-- Counts a token by the credential that it was issued to and by its resource. The caller counts it by count_usage first, so
-- that the row of the organization's slot is locked before this one, and no two transactions wait for each other.
-- Returns true.
--
-- Parameters: p_organization_id; p_agent_id; p_credential_id; p_resource: empty for our own API; p_day and p_hour (0 to
-- 23): in UTC; p_slot: what count_usage returned.
create or replace function count_by_credential(
    p_organization_id text,
    p_agent_id uuid,
    p_credential_id uuid,
    p_resource text,
    p_day date,
    p_hour integer,
    p_slot smallint
) returns boolean
language plpgsql as $$
declare
    v_hour integer := p_hour + 1;
begin
    loop
        update credential_usage_daily
        set tokens = tokens + 1, tokens_by_hour[v_hour] = tokens_by_hour[v_hour] + 1
        where
            organization_id = p_organization_id and day = p_day and agent_id = p_agent_id
            and credential_id = p_credential_id and resource = p_resource and slot = p_slot;
        if found then
            return true;
        end if;
        -- The first of the day in this slot. Another transaction may share the slot and be the first as well.
        insert into credential_usage_daily (
            organization_id, day, agent_id, credential_id, resource, slot, tokens, tokens_by_hour
        )
        values (p_organization_id, p_day, p_agent_id, p_credential_id, p_resource, p_slot, 0, count_nothing())
        on conflict do nothing;
    end loop;
end $$;
