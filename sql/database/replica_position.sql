-- Returns the position of a read replica. Returns one row: is_standby: whether it follows a primary; position: the end of the
-- replayed log in bytes; at: the instant of the last replayed commit by the primary's clock. position and at are null before
-- anything is replayed.
--
-- citus: no shard, because it reads no table
select
    pg_is_in_recovery() as is_standby,
    (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint as position,
    pg_last_xact_replay_timestamp() as at
