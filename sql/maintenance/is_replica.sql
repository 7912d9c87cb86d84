-- Returns one row with is_replica: whether this server is a replica, which replays the log of another server.
select pg_is_in_recovery() as is_replica
