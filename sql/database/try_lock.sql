-- Takes a lock for as long as the connection lasts, unless another connection has it. One row that says whether this
-- connection has it now, also if it had it before. Parameters: key: the lock's number.
--
-- citus: no shard, because it reads no table
select pg_try_advisory_lock(%(key)s::bigint) as is_held
