-- Lets the servers store the plans of a function's statements for the service, which is PostgreSQL's default. Reverts
-- distribution/plan_each_time, and any plan_cache_mode of an administrator for the role in this database. Returns no row.
do $$
begin
    execute format('alter role agentidp_service in database %I reset plan_cache_mode', current_database());
end $$
