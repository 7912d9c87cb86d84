-- Whether the database has Citus, by a function that we call. Also makes Citus forward each "set local" to its workers;
-- elsewhere that setting has no effect. Returns one row. Parameters: none.
--
-- for: connection
select
    exists (
        select
        from pg_proc
        where proname = 'create_distributed_table' and pg_function_is_visible(oid)
    ) as has_citus,
    set_config('citus.propagate_set_commands', 'local', false)
