-- Lets the servers store the plans of a function's statements for the service, which is PostgreSQL's default. Reverts
-- plan_each_time, and a plan_cache_mode that an administrator has set for the role in this database. Returns no row.
do $$
begin
    execute format('alter role agentidp_service in database %I reset plan_cache_mode', current_database());
end $$
