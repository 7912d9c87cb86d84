-- The steps of the schema that this database has. One row per step, migrations first, oldest first. Parameters: none.
--
-- citus: no shard, because the steps are on the coordinator
select name from schema_migrations order by name
