-- Deletes the record of the applied functions, because other functions replace them. Returns no row.
--
-- for: operator
delete from schema_migrations where starts_with(name, 'functions_')
