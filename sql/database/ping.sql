-- One row if the database responds and has its schema. Parameters: none.
select count(*) as migrations from schema_migrations
