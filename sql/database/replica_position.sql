-- How far a read replica is. One row: is_standby: whether it follows a primary; position: what it has replayed of the
-- primary's log, in bytes; at: when the primary committed the last transaction of that, by the primary's clock. Both
-- are null before it has replayed anything. Parameters: none.
--
-- citus: no shard, because it reads no table
select
    pg_is_in_recovery() as is_standby,
    (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint as position,
    pg_last_xact_replay_timestamp() as at
