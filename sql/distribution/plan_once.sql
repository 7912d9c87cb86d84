-- Lets the servers keep the plans of a function's statements for the service, which is PostgreSQL's default. Undoes
-- plan_each_time, and a plan_cache_mode that was set for the role in this database by hand. Returns no row.
-- Parameters: none.
--
-- for: operator
do $$
begin
    execute format('alter role agentidp_service in database %I reset plan_cache_mode', current_database());
end $$
