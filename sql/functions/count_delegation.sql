-- Counts a token from an exchange for the subject for whom the agent acts. The caller has counted the token for the agent before
-- (count_token), so all transactions lock first the agent's counters and then the subject's, and never wait for each other.
-- Returns true.
--
-- Parameters: p_organization_id; p_agent_id: the acting agent; p_subject_agent_id: the agent for which it acts, or null for a
-- subject of another issuer; p_issuer: that issuer, or null; p_resource; p_day: in UTC.
create or replace function count_delegation(
    p_organization_id text,
    p_agent_id uuid,
    p_subject_agent_id uuid,
    p_issuer text,
    p_resource text,
    p_day date
) returns boolean
language plpgsql as $$
declare
    v_subject_agent_id uuid := coalesce(p_subject_agent_id, nil_uuid());
    v_issuer text := coalesce(p_issuer, '');
    v_slot constant smallint := take_slot(p_organization_id);
begin
    loop
        update delegation_usage_daily
        set tokens = tokens + 1
        where
            organization_id = p_organization_id and day = p_day and agent_id = p_agent_id
            and subject_agent_id = v_subject_agent_id and issuer = v_issuer and resource = p_resource and slot = v_slot;
        exit when found;
        insert into delegation_usage_daily (
            organization_id, day, agent_id, subject_agent_id, issuer, resource, slot, tokens
        )
        values (p_organization_id, p_day, p_agent_id, v_subject_agent_id, v_issuer, p_resource, v_slot, 0)
        on conflict do nothing;
    end loop;
    return true;
end $$;
