-- Lets the workers plan a function's statements once a session, as the service's own sessions do, whose settings do not
-- reach them. Returns no row. Parameters: none.
alter role agentidp_service set plan_cache_mode to force_generic_plan
