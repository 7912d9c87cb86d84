-- Makes the servers plan each statement of a function at each call of the service and store no plan, for a Citus that does not
-- reuse its stored plans (keeps_plans). The setting is only for this database, because other databases of the server may lack
-- Citus. Returns no row.
do $$
begin
    execute format('alter role agentidp_service in database %I set plan_cache_mode to force_custom_plan', current_database());
end $$
