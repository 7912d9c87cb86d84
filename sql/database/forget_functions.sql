-- Forgets which functions the database has, because others replace them. Returns no row. Parameters: none.
--
-- for: operator
delete from schema_migrations where starts_with(name, 'functions_')
