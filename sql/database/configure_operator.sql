-- Prepares a connection of the operator: instants in the one format that psycopg reads, whatever the server, the
-- database or the role defaults to. On Citus, a change of a table runs over one connection to each worker, so that a
-- migration can change a table and then create a function; elsewhere that setting has no effect. Returns one row.
-- Parameters: none.
--
-- for: operator
select
    set_config('datestyle', 'ISO', false) as datestyle,
    set_config('citus.multi_shard_modify_mode', 'sequential', false) as multi_shard_modify_mode
