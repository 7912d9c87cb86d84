-- Lets the service read the views on the workers, because Citus creates a view there without its grants. Returns no row.
grant select on active_agents, client_credentials to agentidp_service
