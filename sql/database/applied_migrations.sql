-- Returns the names of the migrations that this database has applied, oldest first, and last the name of its set of functions.
-- One row per name.
--
-- citus: no shard, because schema_migrations is on the coordinator
select name from schema_migrations order by name
