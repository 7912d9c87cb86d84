-- Sets a new password for the role as which the service logs in to the embedded PostgreSQL, and limits the role's rights. The
-- service runs this at each start. The client must write the parameter into the statement. Returns no row. Parameters: password.
--
-- for: operator
alter role agentidp_login
    login noinherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls
    password %(password)s
