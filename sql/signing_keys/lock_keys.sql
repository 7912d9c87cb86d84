-- Waits until no other command changes the signing keys; held until the transaction ends. Returns one row.
-- Parameters: key: the lock's number.
select pg_advisory_xact_lock(%(key)s::bigint)
