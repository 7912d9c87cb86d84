-- Returns the applied steps of this database's schema, one row per step, migrations first, oldest first.
--
-- citus: no shard, because the steps are on the coordinator
select name from schema_migrations order by name
