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
-- The days of a month other than the token's day are summed once, and the sum is kept with the quota. If the kept sum is for
-- another day, because the day has ended or because a server's clock differs, the token sums again under the exclusive lock. The
-- kept sum is read under the lock, as the counters are: a transaction that has read it and then waits for the lock would not
-- know what was issued on another day meanwhile.
--
-- The caller holds the organization's lock of quotas, so that no quota changes meanwhile. database/configure_connection sets the
-- isolation level read committed.
--
-- Returns a text with seven words for each holder that has quotas: "agent" or "organization"; its quotas an hour, a day and a
-- month; and how many tokens were left of each before this one. A word is "-" if there is no such quota. If nothing was left of a
-- quota, three more elements name it: holder, window, and "true" if it is enforced, so that the token must be refused. Of several
-- it is an enforced one, and the one that ends last, and the agent's rather than the organization's.
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
    v_quotas bigint[];
    v_holder text;
    v_holder_id uuid;
    v_key integer;
    v_is_exclusive boolean;
    v_other_days bigint;
    v_in_hour bigint;
    v_on_day bigint;
    v_left bigint[];
    v_rank integer;
    v_max_rank integer := 0;
    v_words text;
    v_exhausted text[];
begin
    -- The agent's lock is always taken before the organization's, for which more tokens wait.
    for v_lock in 17..18 loop
        v_quotas := case v_lock when 17 then p_agent_quotas else p_organization_quotas end;
        continue when v_quotas is null;
        if v_lock = 17 then
            v_holder := 'agent';
            v_holder_id := p_agent_id;
            v_key := uuid_hash(p_agent_id);
        else
            v_holder := 'organization';
            v_holder_id := nil_uuid();
            v_key := hashtext(p_organization_id);
        end if;
        v_is_exclusive := false;
        loop
            begin
                if not v_is_exclusive then
                    -- If somebody near the limit has the lock, this token waits for the exclusive one at once.
                    v_is_exclusive := not pg_try_advisory_xact_lock_shared(v_key, v_lock);
                end if;
                if v_is_exclusive then
                    perform pg_advisory_xact_lock(v_key, v_lock);
                end if;
                if v_quotas[3] is not null then
                    if v_is_exclusive then
                        v_other_days := sum_other_days(p_organization_id, v_holder_id, p_day);
                    else
                        select other_days
                        into v_other_days
                        from quotas
                        where
                            organization_id = p_organization_id and agent_id = v_holder_id
                            and quota_window = 'month' and other_days_of = p_day;
                        if not found then
                            -- How much is left is not known, so it may be little.
                            raise exception 'near the limit' using errcode = 'QUOTA';
                        end if;
                    end if;
                end if;
                if v_lock = 17 then
                    select coalesce(sum(tokens_by_hour[p_hour + 1]), 0), coalesce(sum(tokens), 0)::bigint
                    into v_in_hour, v_on_day
                    from agent_usage_daily
                    where organization_id = p_organization_id and day = p_day and agent_id = p_agent_id;
                else
                    select coalesce(sum(tokens_by_hour[p_hour + 1]), 0), coalesce(sum(tokens), 0)::bigint
                    into v_in_hour, v_on_day
                    from usage_daily
                    where organization_id = p_organization_id and day = p_day;
                end if;
                v_left := array[
                    abs(v_quotas[1]) - v_in_hour,
                    abs(v_quotas[2]) - v_on_day,
                    abs(v_quotas[3]) - v_on_day - v_other_days
                ];
                -- A quota that there is not makes this null, and never false.
                exit when (v_margin < all (v_left)) is not false;
                -- Those that refuse come before those that only observe, and then the one that ends last.
                v_rank := case
                    when v_quotas[3] > 0 and v_left[3] <= 0 then 6
                    when v_quotas[2] > 0 and v_left[2] <= 0 then 5
                    when v_quotas[1] > 0 and v_left[1] <= 0 then 4
                    when v_left[3] <= 0 then 3
                    when v_left[2] <= 0 then 2
                    when v_left[1] <= 0 then 1
                    else 0
                end;
                -- A refusal does not wait for the exclusive lock, because nothing that was issued is taken back.
                if not v_is_exclusive and v_rank < 4 and v_max_rank < 4 then
                    raise exception 'near the limit' using errcode = 'QUOTA';
                end if;
                if v_rank > v_max_rank then
                    v_max_rank := v_rank;
                    v_exhausted := array[v_holder, (array['hour', 'day', 'month'])[(v_rank - 1) % 3 + 1], (v_rank > 3)::text];
                end if;
                exit;
            exception
                -- The end of the subtransaction has given up the shared lock.
                when sqlstate 'QUOTA' then v_is_exclusive := true;
            end;
        end loop;
        v_words := concat_ws(' ', v_words, v_holder, array_to_string(v_quotas || v_left, ' ', '-'));
    end loop;
    return v_words || v_exhausted;
end $$;
