-- Waits until no other process migrates this database, and then blocks other migrations until the connection ends.
-- Returns one row.
-- Parameters: key: the lock's number.
--
-- for: operator
select pg_advisory_lock(%(key)s::bigint)
