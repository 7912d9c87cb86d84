-- Configures a connection of the operator. Sets the date format that psycopg reads. Makes Citus, if it is installed, change tables
-- over one connection per worker, so that a migration can change a table and then create a function. Returns one row.
--
-- for: operator
select
    set_config('datestyle', 'ISO', false) as datestyle,
    set_config('citus.multi_shard_modify_mode', 'sequential', false) as multi_shard_modify_mode
