-- Returns one row: is_so: whether the servers plan each statement of a function at each call of the service (plan_each_time).
select exists (
    select 1
    from pg_db_role_setting
    join pg_database on pg_database.oid = setdatabase
    where
        datname = current_database()
        and setrole = 'agentidp_service'::regrole
        and 'plan_cache_mode=force_custom_plan' = any (setconfig)
) as is_so
