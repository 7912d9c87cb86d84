-- The applied steps of this database's schema. One row per step, migrations first, oldest first. Parameters: none.
--
-- citus: no shard, because the steps are on the coordinator
select name from schema_migrations order by name
