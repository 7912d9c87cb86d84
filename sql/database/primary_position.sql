-- Returns the position of the primary. Returns one row: position: the end of its log in bytes, null if the server is no longer
-- a primary; at: its clock.
--
-- citus: no shard, because it reads no table
select
    case when not pg_is_in_recovery() then (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint end as position,
    clock_timestamp() as at
