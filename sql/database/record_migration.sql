-- Records that a migration was applied. Returns no row. Parameters: name.
--
-- for: operator
insert into schema_migrations (name) values (%(name)s)
