-- Deletes the name of the applied set of functions before another set is applied. Returns no row.
--
-- for: operator
delete from schema_migrations where starts_with(name, 'functions_')
