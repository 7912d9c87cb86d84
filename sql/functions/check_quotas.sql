-- Whether a token of an agent is within the quotas of the agent and of its organization, decided so that what has been
-- decided stays true until the transaction ends: the caller counts the token in the same transaction.
--
-- The counters of usage are the truth; nothing further is counted. An advisory lock a holder of quotas (the agent, the
-- organization) orders the decisions. While more is left of each quota than all connections together can take, a shared
-- lock does: whoever holds it has counted at most one token that is not visible yet. Nearer to the limit the lock is
-- exclusive, and the counters are read again under it: then everything that was counted under the lock is visible, because a
-- lock is released after its transaction has become visible, and each statement takes a new snapshot (read committed).
-- The shared lock is given up before, by the end of a subtransaction, so that two transactions never wait for each other.
--
-- A month's days other than the one on which tokens are issued are summed once and kept with the quota. Who issues on another
-- day than the one of the sum, because the day has ended or because its clock differs, sums again under the exclusive lock.
--
-- The caller holds the organization's lock of quotas, so that no quota changes meanwhile.
--
-- Returns the quotas as a text, one line each: holder (agent or organization), window, tokens, how many were left before this
-- token, and "t" if it is enforced, else "f". If none was left of a quota, three more elements name it: holder, window, and
-- "t" if it is enforced, so that the token must be refused. Of several it is an enforced one, and the one that ends last.
-- Parameters: p_organization_id; p_agent_id; p_day and p_hour (0 to 23): of the token, in UTC; p_has_agent_quota and
-- p_has_organization_quota: who has quotas.
create or replace function check_quotas(
    p_organization_id text,
    p_agent_id uuid,
    p_day date,
    p_hour integer,
    p_has_agent_quota boolean,
    p_has_organization_quota boolean
) returns text[]
language plpgsql as $$
declare
    v_organization constant uuid := '00000000-0000-0000-0000-000000000000';
    v_agent_key constant integer := hashtext(p_agent_id::text);
    v_organization_key constant integer := hashtext(p_organization_id);
    -- Tokens that are counted and not visible yet while others share the lock: one a connection or prepared transaction.
    v_margin constant bigint :=
        current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint;
    v_is_agent_exclusive boolean := false;
    v_is_organization_exclusive boolean := false;
    v_is_agent_near boolean;
    v_is_organization_near boolean;
    v_is_refused boolean;
    v_is_unknown boolean;
    v_agent_day bigint;
    v_agent_hour bigint;
    v_organization_day bigint;
    v_organization_hour bigint;
    v_quota record;
    v_is_of_agent boolean;
    v_used bigint;
    v_left bigint;
    v_lines text;
    v_rank integer;
    v_exhausted_rank integer;
    v_exhausted text[];
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'quotas need the isolation level read committed' using errcode = 'invalid_transaction_state';
    end if;
    loop
        begin
            -- The agent's lock is always taken before the organization's, for which more tokens wait.
            if v_is_agent_exclusive then
                perform pg_advisory_xact_lock(v_agent_key, 17);
            elsif p_has_agent_quota and not pg_try_advisory_xact_lock_shared(v_agent_key, 17) then
                -- Somebody is near the limit.
                v_is_agent_exclusive := true;
                perform pg_advisory_xact_lock(v_agent_key, 17);
            end if;
            if v_is_organization_exclusive then
                perform pg_advisory_xact_lock(v_organization_key, 18);
            elsif p_has_organization_quota and not pg_try_advisory_xact_lock_shared(v_organization_key, 18) then
                v_is_organization_exclusive := true;
                perform pg_advisory_xact_lock(v_organization_key, 18);
            end if;
            if p_has_agent_quota then
                select coalesce(sum(tokens), 0), coalesce(sum(tokens_by_hour[p_hour + 1]), 0)
                into v_agent_day, v_agent_hour
                from agent_usage_daily
                where organization_id = p_organization_id and day = p_day and agent_id = p_agent_id;
            end if;
            if p_has_organization_quota then
                select coalesce(sum(tokens), 0), coalesce(sum(tokens_by_hour[p_hour + 1]), 0)
                into v_organization_day, v_organization_hour
                from usage_daily
                where organization_id = p_organization_id and day = p_day;
            end if;
            v_is_agent_near := false;
            v_is_organization_near := false;
            v_is_refused := false;
            v_is_unknown := false;
            v_lines := '';
            v_exhausted := '{}';
            v_exhausted_rank := -1;
            for v_quota in
                select agent_id, quota_window, tokens, is_enforced, other_days_of, other_days
                from quotas
                where organization_id = p_organization_id and agent_id in (v_organization, p_agent_id)
            loop
                v_is_of_agent := v_quota.agent_id = p_agent_id;
                if v_quota.quota_window = 'hour' then
                    v_used := case when v_is_of_agent then v_agent_hour else v_organization_hour end;
                elsif v_quota.quota_window = 'day' then
                    v_used := case when v_is_of_agent then v_agent_day else v_organization_day end;
                else
                    v_used := case when v_is_of_agent then v_agent_day else v_organization_day end;
                    if v_quota.other_days_of is distinct from p_day then
                        if v_is_of_agent and v_is_agent_exclusive or not v_is_of_agent and v_is_organization_exclusive then
                            v_quota.other_days := sum_other_days(p_organization_id, v_quota.agent_id, p_day);
                        else
                            v_quota.other_days := 0;
                            v_is_unknown := true;
                            v_is_agent_near := v_is_agent_near or v_is_of_agent;
                            v_is_organization_near := v_is_organization_near or not v_is_of_agent;
                        end if;
                    end if;
                    v_used := v_used + v_quota.other_days;
                end if;
                v_left := greatest(v_quota.tokens - v_used, 0);
                if v_left = 0 then
                    v_is_refused := v_is_refused or v_quota.is_enforced;
                    v_rank := case when v_quota.is_enforced then 6 else 0 end
                        + case v_quota.quota_window when 'month' then 4 when 'day' then 2 else 0 end
                        + v_is_of_agent::integer;
                    if v_rank > v_exhausted_rank then
                        v_exhausted_rank := v_rank;
                        v_exhausted := array[
                            case when v_is_of_agent then 'agent' else 'organization' end,
                            v_quota.quota_window,
                            case when v_quota.is_enforced then 't' else 'f' end
                        ];
                    end if;
                elsif v_left <= v_margin then
                    v_is_agent_near := v_is_agent_near or v_is_of_agent;
                    v_is_organization_near := v_is_organization_near or not v_is_of_agent;
                end if;
                v_lines := v_lines || case when v_is_of_agent then 'agent ' else 'organization ' end
                    || v_quota.quota_window || ' ' || v_quota.tokens || ' ' || v_left
                    || case when v_quota.is_enforced then E' t\n' else E' f\n' end;
            end loop;
            if v_is_refused and not v_is_unknown
                or (v_is_agent_exclusive or not v_is_agent_near)
                and (v_is_organization_exclusive or not v_is_organization_near)
            then
                return v_lines || v_exhausted;
            end if;
            v_is_agent_exclusive := v_is_agent_exclusive or v_is_agent_near;
            v_is_organization_exclusive := v_is_organization_exclusive or v_is_organization_near;
            raise exception 'near the limit' using errcode = 'QUOTA';
        exception
            -- Undoes the subtransaction, which gives up its locks.
            when sqlstate 'QUOTA' then null;
        end;
    end loop;
end $$;
