-- Takes a slot of an organization's counters until the transaction ends, and returns its number. The slot is an advisory lock with
-- this number; docs/contributing/function.md lists the locks.
--
-- A counter has up to 16 rows per day, one per slot, and a row with slot 16 if past usage was imported. The transaction takes the
-- lowest slot in which no other transaction counts, so the commits of a busy organization do not wait for each other, and a quiet
-- organization has one row per day. If all 16 slots are taken, the transaction shares one of them.
--
-- Parameters: p_organization_id.
create or replace function take_slot(
    p_organization_id text
) returns smallint
language plpgsql as $$
begin
    for v_slot in 0..15 loop
        if pg_try_advisory_xact_lock(hashtext(p_organization_id), v_slot) then
            return v_slot;
        end if;
    end loop;
    return pg_backend_pid() % 16;
end $$;
