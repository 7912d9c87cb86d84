-- Lets the servers plan each statement of a function at each call for the service, and keep no plan: for a Citus that does
-- not find the plans that it has kept (keeps_plans). Of this database only, because others of the server may have no Citus.
-- Returns no row. Parameters: none.
--
-- for: operator
do $$
begin
    execute format('alter role agentidp_service in database %I set plan_cache_mode to force_custom_plan', current_database());
end $$
