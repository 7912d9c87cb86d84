-- Sets the maximum wait for each lock in this transaction. Returns one row with the time. Parameters: timeout: with its unit, as
-- in 2s.
--
-- citus: no shard, because it reads no table
select set_config('lock_timeout', %(timeout)s, true)
