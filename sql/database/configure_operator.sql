-- Configures a connection of the operator: sets the date format that psycopg reads, which overrides all defaults. On Citus, a
-- change of a table uses one connection per worker, so that a migration can change a table and then create a function. Without
-- Citus this setting has no effect. Returns one row.
--
-- for: operator
select
    set_config('datestyle', 'ISO', false) as datestyle,
    set_config('citus.multi_shard_modify_mode', 'sequential', false) as multi_shard_modify_mode
