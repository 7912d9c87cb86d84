-- Waits until no other transaction applies a file of organizations, and keeps others waiting until this one ends. Returns one
-- row. Parameters: key: of the advisory lock.
select pg_advisory_xact_lock(%(key)s::bigint)
