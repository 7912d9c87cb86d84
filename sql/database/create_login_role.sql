-- Creates the role as which the embedded server's service logs in. The role has no rights except to become agentidp_service.
-- Returns no row. Parameters: none.
--
-- for: operator
create role agentidp_login noinherit in role agentidp_service
