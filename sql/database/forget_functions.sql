-- Deletes the record of the applied functions, because other functions replace them. Returns no row. Parameters: none.
--
-- for: operator
delete from schema_migrations where starts_with(name, 'functions_')
