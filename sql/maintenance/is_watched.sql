-- Returns one row with is_watched: whether a running agentidp watch holds its advisory lock. Parameters: key: the lock's number.
select
    exists (
        select
        from pg_locks
        where
            locktype = 'advisory'
            and database = (select oid from pg_database where datname = current_database())
            and classid::bigint = %(key)s::bigint >> 32
            and objid::bigint = %(key)s::bigint & 4294967295
            and granted
    ) as is_watched
