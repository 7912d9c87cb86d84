-- Returns how far the primary has written its log. Returns one row with position: the end of the log in bytes, null if the server
-- is no longer a primary; at: the time of the server.
--
-- citus: no shard, because it reads no table
select
    case when not pg_is_in_recovery() then (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint end as position,
    clock_timestamp() as at
