-- Restricts a transaction on Citus to the rows of one organization. Citus forwards "set local" to its workers, but does not
-- forward set_config(). The client must write the parameter into the statement. Returns no row. Parameters: organization_id.
--
-- for: connection
set local agentidp.organization_id to %(organization_id)s
