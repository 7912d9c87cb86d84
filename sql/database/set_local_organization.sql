-- Opens a transaction's view of one organization on Citus, which sends this on to its workers and set_config() not.
-- Takes no bound parameter: the client must write it into the statement. Returns no row. Parameters: organization_id.
--
-- for: connection
set local agentidp.organization_id to %(organization_id)s
