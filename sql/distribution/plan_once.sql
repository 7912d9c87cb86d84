-- Lets the servers keep the plans of a function's statements for the service, which is PostgreSQL's default, and undoes
-- plan_each_time. Returns no row. Parameters: none.
do $$
begin
    execute format('alter role agentidp_service in database %I reset plan_cache_mode', current_database());
end $$
