-- Sets whether this transaction's commit waits for the disks of Citus's workers. Psycopg must write the parameter into the
-- statement, because "set" accepts no parameters. Returns no row. Parameters: synchronous_commit: off if the commit does not wait.
--
-- for: connection
set local synchronous_commit to %(synchronous_commit)s
