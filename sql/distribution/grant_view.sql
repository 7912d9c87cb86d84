-- Lets the service read the view on the workers, because Citus creates a view there without its grants. Returns no row.
-- Parameters: none.
--
-- for: operator
grant select on active_agents to agentidp_service
