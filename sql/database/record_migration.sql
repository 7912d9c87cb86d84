-- Notes that a migration was applied. Returns no row. Parameters: name.
insert into schema_migrations (name) values (%(name)s)
