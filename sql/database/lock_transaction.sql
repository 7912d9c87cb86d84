-- Waits for an advisory lock and holds it until the transaction ends, so that an operator's change is the only one of its kind.
-- Returns one row. Parameters: key: the lock's number.
--
-- for: operator
select pg_advisory_xact_lock(%(key)s::bigint)
