-- Creates the role with which the service logs in to the embedded PostgreSQL. The role has no rights except to become
-- agentidp_service. Returns no row.
--
-- for: operator
create role agentidp_login noinherit in role agentidp_service
