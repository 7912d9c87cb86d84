-- Restricts a transaction on Citus to the rows of one organization. Citus forwards "set local" to its workers, but does not
-- forward set_config(). Psycopg must write the parameter into the statement, because "set" accepts no parameters.
-- Returns no row. Parameters: organization_id.
--
-- for: connection
set local agentidp.organization_id to %(organization_id)s
