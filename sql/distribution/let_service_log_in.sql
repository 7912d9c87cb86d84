-- Lets the service's role log in, because Citus connects to the workers as the role that runs a statement. It has no
-- password: the servers' pg_hba.conf says who may. Returns no row. Parameters: none.
--
-- for: operator
alter role agentidp_service login
