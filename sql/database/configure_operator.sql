-- Prepares a connection of the operator: instants in the one format that psycopg reads, whatever the server, the
-- database or the role defaults to. Returns one row. Parameters: none.
select set_config('datestyle', 'ISO', false)
