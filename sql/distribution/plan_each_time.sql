-- Makes the servers plan the statements of functions at each call by the service, and store no plans. Some versions of Citus
-- store a new plan at each call and reuse none (distribution/keeps_plans), so the memory of a connection grows with each token.
-- The setting is limited to this database, because other databases of the server may not use Citus. Returns no row.
do $$
begin
    execute format('alter role agentidp_service in database %I set plan_cache_mode to force_custom_plan', current_database());
end $$
