-- Takes an organization's issuance lock (16): waits until no token of the organization is being issued, and blocks new tokens until
-- this transaction ends, because the organization's quotas are about to change, or an agent or its tokens are about to end. Each
-- transaction that issues a token shares the lock (issue_token) before it takes the locks of quotas (17 and 18). Call the function
-- before the transaction locks any row, because a transaction that issues a token may wait for that row. Returns true.
-- docs/contributing/function.md lists the locks.
-- Parameters: p_organization_id; p_timeout: the maximum wait for a lock, with its unit. New tokens wait as long as this
-- transaction waits, so the timeout must be short.
create or replace function lock_quotas(
    p_organization_id text,
    p_timeout text
) returns boolean
language plpgsql as $$
begin
    -- This function, and not its caller, sets the timeout, because on Citus the organization's worker waits for the lock.
    perform set_config('lock_timeout', p_timeout, true);
    perform pg_advisory_xact_lock(hashtext(p_organization_id), 16);
    return true;
end $$;
