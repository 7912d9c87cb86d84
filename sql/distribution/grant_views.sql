-- Lets the service read the views on the workers, because Citus copies views without their grants. Returns no row.
grant select on active_agents, client_credentials to agentidp_service
