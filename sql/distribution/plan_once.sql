-- Lets the servers store and reuse the plans of a function's statements, which is PostgreSQL's default. Reverts
-- distribution/plan_each_time, and also a plan_cache_mode that an administrator has set for the service's role in this database.
-- Returns no row.
do $$
begin
    execute format('alter role agentidp_service in database %I reset plan_cache_mode', current_database());
end $$
