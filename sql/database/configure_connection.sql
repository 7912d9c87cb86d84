-- Configures a new connection of the service: the service's role, which owns nothing; a time limit; plans that are made once; the
-- date format that psycopg reads; the isolation level that quotas need; and commits that wait for the disk. Defaults of the
-- server, the database or the role do not apply. Returns one row: is_standby and is_read_only are properties of the server.
-- Parameters: role; statement_timeout: with its unit.
--
-- for: connection
select
    set_config('role', %(role)s, false),
    set_config('statement_timeout', %(statement_timeout)s, false),
    set_config('jit', 'off', false),
    set_config('plan_cache_mode', 'force_generic_plan', false),
    -- Without sequential scans, a plan that was made while the table was empty still suits a full table.
    set_config('enable_seqscan', 'off', false),
    set_config('datestyle', 'ISO', false),
    set_config('default_transaction_isolation', 'read committed', false),
    set_config('synchronous_commit',
        case current_setting('synchronous_commit') when 'off' then 'on' else current_setting('synchronous_commit') end,
        false),
    pg_is_in_recovery() as is_standby,
    current_setting('transaction_read_only')::boolean as is_read_only
