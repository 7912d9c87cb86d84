-- Makes the servers plan each statement of a function at each call by the service, without storing plans. Citus versions that do
-- not reuse stored plans need this setting (distribution/keeps_plans). The setting is limited to this database, because other
-- databases of the server may not use Citus. Returns no row.
do $$
begin
    execute format('alter role agentidp_service in database %I set plan_cache_mode to force_custom_plan', current_database());
end $$
