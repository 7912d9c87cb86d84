-- The migrations that this database has. One row a migration, oldest first. Parameters: none.
select name from schema_migrations order by name
