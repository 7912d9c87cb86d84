-- Waits for an advisory lock and holds it until the transaction ends: an operator's change that must be the only one of its
-- kind. Returns one row. Parameters: key: the lock's number.
--
-- for: operator
select pg_advisory_xact_lock(%(key)s::bigint)
