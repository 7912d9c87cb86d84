-- The migrations that this database has. One row per migration, oldest first. Parameters: none.
select name from schema_migrations order by name
