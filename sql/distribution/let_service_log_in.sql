-- Lets the service's role log in, because Citus connects to the workers as the role that runs a statement. The role has no
-- password, so pg_hba.conf on each worker must decide which hosts may log in. Returns no row.
alter role agentidp_service login
