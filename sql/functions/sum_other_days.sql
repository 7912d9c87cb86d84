-- Returns the tokens of an agent or an organization on all days of a day's UTC month except that day, and stores the sum with the
-- quota per month. The caller has the exclusive lock of the quota's holder (apply_quotas).
--
-- The quota's row is locked first. An import of past usage takes no quota lock and, as its last step, marks the sum as stale. So
-- either the import waits for the row and marks this sum as stale, or the sum already includes the imported usage.
--
-- Parameters: p_organization_id; p_agent_id: nil_uuid() for the organization's quota; p_day.
create or replace function sum_other_days(
    p_organization_id text,
    p_agent_id uuid,
    p_day date
) returns bigint
language plpgsql as $$
declare
    v_month constant date := date_trunc('month', p_day::timestamp);
    -- A list of days is needed, because the index begins with the day: a range of days would read the rows of all agents.
    v_days constant date[] := array(
        select v_month + since.days
        from generate_series(0, 30) as since (days)
        where v_month + since.days < v_month + interval '1 month' and v_month + since.days <> p_day
    );
    v_quota record;
    v_sum bigint;
begin
    select other_days_of, other_days
    into v_quota
    from quotas
    where organization_id = p_organization_id and agent_id = p_agent_id and quota_window = 'month'
    for update;
    if v_quota.other_days_of = p_day then
        return v_quota.other_days;
    end if;
    if p_agent_id = nil_uuid() then
        select coalesce(sum(tokens), 0)
        into v_sum
        from usage_daily
        where organization_id = p_organization_id and day = any (v_days);
    else
        select coalesce(sum(counted.tokens), 0)
        into v_sum
        from unnest(v_days) as other_days (day)
        -- This lateral join reads each day separately, because PostgreSQL 15 and 16 would read all agents of the month for a
        -- plain join.
        cross join lateral (
            select tokens
            from agent_usage_daily
            where organization_id = p_organization_id and day = other_days.day and agent_id = p_agent_id
            offset 0
        ) as counted;
    end if;
    update quotas
    set other_days_of = p_day, other_days = v_sum
    where organization_id = p_organization_id and agent_id = p_agent_id and quota_window = 'month';
    return v_sum;
end $$;
