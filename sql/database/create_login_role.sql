-- Creates the role that the embedded server's service logs in as. It has nothing of its own, and may become
-- agentidp_service. Returns no row. Parameters: none.
--
-- for: operator
create role agentidp_login noinherit in role agentidp_service
