-- Sets the maximum time that this transaction waits for a lock. Returns one row: the time. Parameters: timeout: the time with
-- its unit, such as 2s.
--
-- citus: no shard, because it reads no table
select set_config('lock_timeout', %(timeout)s, true)
