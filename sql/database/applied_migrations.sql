-- Returns the names of the applied migrations, oldest first, and then the name of the applied set of functions. One row per name.
--
-- citus: no shard, because schema_migrations is on the coordinator
select name from schema_migrations order by name
