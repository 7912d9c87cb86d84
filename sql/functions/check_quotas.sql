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
-- A month's days other than the one on which tokens are issued are summed once and kept with the quota, and beside it in the
-- holder's row. Who issues on another day than the one of the sum, because the day has ended or because its clock differs, sums
-- again under the exclusive lock.
--
-- The caller holds the organization's lock of quotas, so that no quota changes meanwhile.
--
-- Returns a text with a line for each holder that has quotas: agent or organization, the holder's quotas, and how many tokens had
-- been issued before this one in the hour, on the day and in the month, each "-" if it is not known. If none was left of a quota,
-- three more elements name it: holder, window, and "t" if it is enforced, so that the token must be refused. Of several it is an
-- enforced one, and the one that ends last.
--
-- Each expression costs: PostgreSQL prepares it anew in each transaction. So a token that is far from the limit needs few.
--
-- Parameters: p_organization_id; p_agent_id; p_day and p_hour (0 to 23): of the token, in UTC; p_agent_quotas and
-- p_organization_quotas: the column quotas of both, null if it has none.
create or replace function check_quotas(
    p_organization_id text,
    p_agent_id uuid,
    p_day date,
    p_hour integer,
    p_agent_quotas bigint[],
    p_organization_quotas bigint[]
) returns text[]
language plpgsql as $$
declare
    -- Tokens that are counted and not visible yet while others share the lock: one a connection or prepared transaction.
    v_margin constant bigint :=
        current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint;
    v_is_agent_exclusive boolean := false;
    v_is_organization_exclusive boolean := false;
    v_is_agent_near boolean := false;
    v_is_organization_near boolean := false;
    v_is_refused boolean;
    v_is_unknown boolean;
    v_other_days bigint;
    -- In the hour, on the day, in the month.
    v_agent_used bigint[];
    v_organization_used bigint[];
    v_lines text;
    v_is_of_agent boolean;
    v_window text;
    v_tokens bigint;
    v_used bigint;
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
                perform pg_advisory_xact_lock(hashtext(p_agent_id::text), 17);
            elsif p_agent_quotas is not null and not pg_try_advisory_xact_lock_shared(hashtext(p_agent_id::text), 17) then
                -- Somebody is near the limit.
                v_is_agent_exclusive := true;
                perform pg_advisory_xact_lock(hashtext(p_agent_id::text), 17);
            end if;
            if v_is_organization_exclusive then
                perform pg_advisory_xact_lock(hashtext(p_organization_id), 18);
            elsif p_organization_quotas is not null
                and not pg_try_advisory_xact_lock_shared(hashtext(p_organization_id), 18) then
                v_is_organization_exclusive := true;
                perform pg_advisory_xact_lock(hashtext(p_organization_id), 18);
            end if;
            if p_agent_quotas is not null then
                v_other_days := case when p_agent_quotas[4] = p_day - date '2000-01-01' then p_agent_quotas[5] end;
                if v_is_agent_exclusive and p_agent_quotas[3] is not null then
                    -- Here others may have changed it while this one waited.
                    v_other_days := sum_other_days(p_organization_id, p_agent_id, p_day);
                end if;
                select
                    array[
                        coalesce(sum(tokens_by_hour[p_hour + 1]), 0),
                        coalesce(sum(tokens), 0)::bigint,
                        coalesce(sum(tokens), 0)::bigint + v_other_days
                    ]
                into v_agent_used
                from agent_usage_daily
                where organization_id = p_organization_id and day = p_day and agent_id = p_agent_id;
                v_is_agent_near := least(
                    abs(p_agent_quotas[1]) - v_agent_used[1],
                    abs(p_agent_quotas[2]) - v_agent_used[2],
                    -- Unknown is near.
                    abs(p_agent_quotas[3]) - coalesce(v_agent_used[3], abs(p_agent_quotas[3]))
                ) <= v_margin;
                v_lines := 'agent ' || array_to_string(p_agent_quotas || v_agent_used, ' ', '-');
            end if;
            if p_organization_quotas is not null then
                v_other_days := case when p_organization_quotas[4] = p_day - date '2000-01-01' then p_organization_quotas[5] end;
                if v_is_organization_exclusive and p_organization_quotas[3] is not null then
                    -- Here others may have changed it while this one waited.
                    v_other_days := sum_other_days(p_organization_id, '00000000-0000-0000-0000-000000000000', p_day);
                end if;
                select
                    array[
                        coalesce(sum(tokens_by_hour[p_hour + 1]), 0),
                        coalesce(sum(tokens), 0)::bigint,
                        coalesce(sum(tokens), 0)::bigint + v_other_days
                    ]
                into v_organization_used
                from usage_daily
                where organization_id = p_organization_id and day = p_day;
                v_is_organization_near := least(
                    abs(p_organization_quotas[1]) - v_organization_used[1],
                    abs(p_organization_quotas[2]) - v_organization_used[2],
                    abs(p_organization_quotas[3]) - coalesce(v_organization_used[3], abs(p_organization_quotas[3]))
                ) <= v_margin;
                v_lines := concat_ws(
                    E'\n',
                    case when p_agent_quotas is not null then v_lines end,
                    'organization ' || array_to_string(p_organization_quotas || v_organization_used, ' ', '-')
                );
            end if;
            if not v_is_agent_near and not v_is_organization_near then
                return array[v_lines];
            end if;
            v_is_agent_near := false;
            v_is_organization_near := false;
            v_is_refused := false;
            v_is_unknown := false;
            v_exhausted := '{}';
            v_exhausted_rank := -1;
            -- The agent's an hour, a day and a month, and then the organization's.
            for v_number in
                case when p_agent_quotas is null then 4 else 1 end..case when p_organization_quotas is null then 3 else 6 end
            loop
                v_is_of_agent := v_number < 4;
                v_tokens := case when v_is_of_agent then p_agent_quotas[v_number] else p_organization_quotas[v_number - 3] end;
                continue when v_tokens is null;
                v_used := case when v_is_of_agent then v_agent_used[v_number] else v_organization_used[v_number - 3] end;
                v_window := (array['hour', 'day', 'month'])[(v_number - 1) % 3 + 1];
                if v_used is null then
                    v_is_unknown := true;
                    v_is_agent_near := v_is_agent_near or v_is_of_agent;
                    v_is_organization_near := v_is_organization_near or not v_is_of_agent;
                elsif v_used >= abs(v_tokens) then
                    v_is_refused := v_is_refused or v_tokens > 0;
                    v_rank := case when v_tokens > 0 then 6 else 0 end
                        + case v_window when 'month' then 4 when 'day' then 2 else 0 end
                        + v_is_of_agent::integer;
                    if v_rank > v_exhausted_rank then
                        v_exhausted_rank := v_rank;
                        v_exhausted := array[
                            case when v_is_of_agent then 'agent' else 'organization' end,
                            v_window,
                            case when v_tokens > 0 then 't' else 'f' end
                        ];
                    end if;
                elsif abs(v_tokens) - v_used <= v_margin then
                    v_is_agent_near := v_is_agent_near or v_is_of_agent;
                    v_is_organization_near := v_is_organization_near or not v_is_of_agent;
                end if;
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
