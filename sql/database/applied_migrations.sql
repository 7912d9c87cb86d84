-- The steps of the schema that this database has. One row per step, migrations first, oldest first. Parameters: none.
select name from schema_migrations order by name
