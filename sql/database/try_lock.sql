-- Takes an advisory lock until the connection ends, unless another connection has the lock. Does not wait. Returns one row:
-- is_held: whether this connection has the lock. Parameters: key: the lock's number.
--
-- citus: no shard, because it reads no table
select pg_try_advisory_lock(%(key)s::bigint) as is_held
