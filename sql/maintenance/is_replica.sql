-- Whether this server repeats what another one writes. Returns one row. Parameters: none.
--
-- for: operator
select pg_is_in_recovery() as is_replica
