-- Returns how far a read replica has replayed the primary's log. Returns one row with is_standby: whether the server follows a
-- primary; position: the end of the replayed log in bytes; at: the time of the last replayed commit, by the primary's clock.
-- position and at are null until the replica has replayed a commit.
--
-- citus: no shard, because it reads no table
select
    pg_is_in_recovery() as is_standby,
    (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint as position,
    pg_last_xact_replay_timestamp() as at
