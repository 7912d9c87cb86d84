-- One row where the database answers and its schema is there. Parameters: none.
select count(*) as migrations from schema_migrations
