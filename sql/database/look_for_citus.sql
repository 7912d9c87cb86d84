-- Returns one row with has_citus: whether the database has a function that only Citus creates. Also makes Citus, if
-- it is installed, forward each "set local" to its workers.
--
-- for: connection
select
    exists (
        select
        from pg_proc
        where proname = 'create_distributed_table' and pg_function_is_visible(oid)
    ) as has_citus,
    set_config('citus.propagate_set_commands', 'local', false)
