-- Returns one row with is_so: whether the setting of distribution/plan_each_time is active in this database.
select exists (
    select 1
    from pg_db_role_setting
    join pg_database on pg_database.oid = setdatabase
    where
        datname = current_database()
        and setrole = 'agentidp_service'::regrole
        and 'plan_cache_mode=force_custom_plan' = any (setconfig)
) as is_so
