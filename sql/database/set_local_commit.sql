-- Sets whether a transaction's commit waits for the disk on Citus's workers. The client must write the parameter into the
-- statement. Returns no row. Parameters: synchronous_commit: off lets the commit be acknowledged before it is on disk.
--
-- for: connection
set local synchronous_commit to %(synchronous_commit)s
