-- Creates the role as which the embedded server's service logs in. The role has no rights except to become agentidp_service.
-- Returns no row.
--
-- for: operator
create role agentidp_login noinherit in role agentidp_service
