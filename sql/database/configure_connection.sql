-- Configures a new connection of the service, so that the defaults of the server, database and role do not matter. Sets the role,
-- the time limit of statements, the reuse of plans, the date format that psycopg reads, the isolation level that quotas need,
-- and commits that wait for the disk. Returns one row with is_standby: whether the server is a standby; is_read_only: whether it
-- refuses writes.
-- Parameters: role; statement_timeout: with its unit.
--
-- for: connection
select
    set_config('role', %(role)s, false),
    set_config('statement_timeout', %(statement_timeout)s, false),
    set_config('jit', 'off', false),
    set_config('plan_cache_mode', 'force_generic_plan', false),
    -- PostgreSQL plans a sequential scan while a table is empty, and would still use this plan when the table is full.
    set_config('enable_seqscan', 'off', false),
    set_config('datestyle', 'ISO', false),
    set_config('default_transaction_isolation', 'read committed', false),
    set_config('synchronous_commit',
        case current_setting('synchronous_commit') when 'off' then 'on' else current_setting('synchronous_commit') end,
        false),
    pg_is_in_recovery() as is_standby,
    current_setting('transaction_read_only')::boolean as is_read_only
