-- Whether the database has Citus, by its function that we call; and has it send each "set local" on to its workers,
-- which is a setting that means nothing elsewhere. Returns one row. Parameters: none.
select
    exists (
        select
        from pg_proc
        where proname = 'create_distributed_table' and pg_function_is_visible(oid)
    ) as has_citus,
    set_config('citus.propagate_set_commands', 'local', false)
