-- Waits until no token of an organization is being issued, and lets none be issued until this transaction ends: its quotas
-- are about to change. Call it before the transaction locks any row, and after none of the counters: a token that is being
-- issued may wait for such a row. Returns true.
-- Parameters: p_organization_id; p_timeout: how long it waits for a lock, with its unit. Tokens that are asked for meanwhile
-- wait behind it, so it must not wait long for one that hangs.
create or replace function lock_quotas(
    p_organization_id text,
    p_timeout text
) returns boolean
language plpgsql as $$
begin
    -- Here, because on Citus the organization's worker waits.
    perform set_config('lock_timeout', p_timeout, true);
    perform pg_advisory_xact_lock(hashtext(p_organization_id), 16);
    return true;
end $$;
