-- Sets a new password for the role as which the service logs in to the embedded PostgreSQL, and limits the role's rights. The
-- service runs this at each start. Psycopg must write the parameter into the statement, because "alter role" accepts no
-- parameters. Returns no row. Parameters: password.
--
-- for: operator
alter role agentidp_login
    login noinherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls
    password %(password)s
