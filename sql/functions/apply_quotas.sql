-- Decides whether a token of an agent is within the quotas of the agent and of its organization. The caller counts the token in
-- the same transaction, and the decision stays true until that transaction ends.
--
-- The usage counters do not show the tokens of transactions that are still open. So each holder of quotas (the agent, the
-- organization) has an advisory lock. While each of its quotas has more tokens left than all open transactions can count, one token
-- each, the transactions share the lock. Near the limit, a transaction takes the lock exclusively and reads the counters again. The
-- counters then show every token that was counted under the lock, because a transaction becomes visible before it releases its
-- locks, and each statement takes a new snapshot (read committed). Before a transaction waits for the exclusive lock, it ends a
-- subtransaction to release the shared lock, so that two transactions never wait for each other.
--
-- Example: an agent has an enforced quota of 10 tokens per day, has used 8, and requests three tokens at once. Under the shared
-- lock, each transaction reads 2 tokens left, which other open transactions may count. So each releases the lock and waits for
-- the exclusive lock. Then the first reads 2 tokens left and issues a token, the second reads 1 and issues a token, and the third
-- reads 0 and is refused. A later request reads 0 under the shared lock, and is refused without the exclusive lock.
--
-- The transaction of the first token of a day sums, for a quota per month, the tokens of all other days of the month, under the
-- exclusive lock, and stores the sum with the quota. A transaction sums these days again if the stored sum belongs to another
-- day, because a day has ended or the clocks of two servers differ. The stored sum, like the counters, is read only under the
-- lock. Otherwise, a transaction that waits for the lock could miss tokens that are issued on another day meanwhile.
--
-- The caller (issue_token) shares the organization's issuance lock. A transaction that changes quotas takes this lock exclusively
-- (lock_quotas), so no quota changes meanwhile. The statement database/configure_connection sets the isolation level read
-- committed.
--
-- Returns one row. quotas: seven words per holder that has quotas: "agent" or "organization"; the quotas per hour, day and month,
-- negative if not enforced; and the tokens left in each quota before this token. A word is "-" if the holder has no such quota.
-- exhausted_holder, exhausted_window and is_enforced: of a quota that has no token left, or null. If this quota is enforced, the
-- token must be refused. If several quotas have no token left, the columns describe one of them: an enforced quota before others,
-- then the longest window, then the agent's quota before the organization's.
--
-- A token far from the limits is the common case. For such a token, few expressions are evaluated, because PostgreSQL prepares each
-- expression again in each transaction.
--
-- Parameters: p_organization_id; p_agent_id; p_day and p_hour (0 to 23): the token's day and hour in UTC; p_agent_quotas and
-- p_organization_quotas: the column quotas of the agent and of the organization: an array of the quotas per hour, day and month,
-- each a signed_quota() or null; null instead of an array for a holder without quotas.
create or replace function apply_quotas(
    p_organization_id text,
    p_agent_id uuid,
    p_day date,
    p_hour integer,
    p_agent_quotas bigint[],
    p_organization_quotas bigint[],
    out quotas text,
    out exhausted_holder text,
    out exhausted_window text,
    out is_enforced boolean
)
language plpgsql as $$
declare
    -- The maximum number of tokens that open transactions can count: one per connection and one per prepared transaction.
    v_margin constant bigint :=
        current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint;
    v_quotas bigint[];
    v_holder text;
    v_holder_id uuid;
    v_key integer;
    v_is_exclusive boolean;
    v_tokens_on_other_days bigint;
    v_tokens_in_hour bigint;
    v_tokens_on_day bigint;
    v_left bigint[];
    v_rank integer;
    v_max_rank integer := 0;
begin
    -- Takes the agent's lock (17) first, because more transactions wait for the organization's lock (18).
    <<holders>>
    for v_lock in 17..18 loop
        v_quotas := case v_lock when 17 then p_agent_quotas else p_organization_quotas end;
        continue holders when v_quotas is null;
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
        <<attempts>>
        loop
            begin
                if not v_is_exclusive then
                    -- The shared lock fails only if another transaction has the exclusive lock. This transaction then waits until
                    -- it gets the exclusive lock.
                    v_is_exclusive := not pg_try_advisory_xact_lock_shared(v_key, v_lock);
                end if;
                if v_is_exclusive then
                    perform pg_advisory_xact_lock(v_key, v_lock);
                end if;
                if v_quotas[3] is not null then
                    if v_is_exclusive then
                        v_tokens_on_other_days := sum_other_days(p_organization_id, v_holder_id, p_day);
                    else
                        select other_days
                        into v_tokens_on_other_days
                        from quotas
                        where
                            organization_id = p_organization_id and agent_id = v_holder_id
                            and quota_window = 'month' and other_days_of = p_day;
                        if not found then
                            -- The sum of the month's days except p_day is not stored yet. Computing this sum needs the exclusive
                            -- lock.
                            raise exception 'sum of the month missing' using errcode = 'QUOTA';
                        end if;
                    end if;
                end if;
                if v_lock = 17 then
                    select coalesce(sum(tokens_by_hour[p_hour + 1]), 0), coalesce(sum(tokens), 0)::bigint
                    into v_tokens_in_hour, v_tokens_on_day
                    from agent_usage_daily
                    where organization_id = p_organization_id and day = p_day and agent_id = p_agent_id;
                else
                    select coalesce(sum(tokens_by_hour[p_hour + 1]), 0), coalesce(sum(tokens), 0)::bigint
                    into v_tokens_in_hour, v_tokens_on_day
                    from usage_daily
                    where organization_id = p_organization_id and day = p_day;
                end if;
                v_left := array[
                    abs(v_quotas[1]) - v_tokens_in_hour,
                    abs(v_quotas[2]) - v_tokens_on_day,
                    abs(v_quotas[3]) - v_tokens_on_day - v_tokens_on_other_days
                ];
                -- Far from all limits, no further attempt is needed. A missing quota is null in v_left, so the comparison is then
                -- null instead of true.
                exit attempts when (v_margin < all (v_left)) is not false;
                -- An enforced quota without tokens left ranks above any other quota. A longer window ranks above a shorter window:
                -- ranks 1 and 4 are for the hour, 2 and 5 for the day, 3 and 6 for the month.
                v_rank := case
                    when v_quotas[3] > 0 and v_left[3] <= 0 then 6
                    when v_quotas[2] > 0 and v_left[2] <= 0 then 5
                    when v_quotas[1] > 0 and v_left[1] <= 0 then 4
                    when v_left[3] <= 0 then 3
                    when v_left[2] <= 0 then 2
                    when v_left[1] <= 0 then 1
                    else 0
                end;
                -- A refusal (rank 4 to 6) needs no exclusive lock, because counters never decrease, so the quota stays exhausted.
                -- If the agent's quota has refused (v_max_rank), the organization's quotas need no exact figures.
                if not v_is_exclusive and v_rank < 4 and v_max_rank < 4 then
                    raise exception 'near the limit' using errcode = 'QUOTA';
                end if;
                if v_rank > v_max_rank then
                    v_max_rank := v_rank;
                    exhausted_holder := v_holder;
                    exhausted_window := (array['hour', 'day', 'month', 'hour', 'day', 'month'])[v_rank];
                    is_enforced := v_rank > 3;
                end if;
                exit attempts;
            exception
                -- The exception has ended the subtransaction, and so released the shared lock. The next attempt is exclusive.
                when sqlstate 'QUOTA' then v_is_exclusive := true;
            end;
        end loop attempts;
        quotas := concat_ws(' ', quotas, v_holder, array_to_string(v_quotas || v_left, ' ', '-'));
    end loop holders;
end $$;
