-- Creates the role as which the service logs in to the embedded PostgreSQL. The only right of the role is to switch to the role
-- agentidp_service. Returns no row.
--
-- for: operator
create role agentidp_login noinherit in role agentidp_service
