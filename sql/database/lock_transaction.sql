-- Waits for an advisory lock and holds it until the transaction ends, so that only one change of a kind runs at a time. Returns
-- one row. Parameters: key: the lock's number, one per kind of change.
--
-- for: operator
select pg_advisory_xact_lock(%(key)s::bigint)
