-- Sets the password of the service's login role in the embedded PostgreSQL until its next start, and limits the role's rights.
-- The client must write the parameter into the statement. Returns no row. Parameters: password.
--
-- for: operator
alter role agentidp_login
    login noinherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls
    password %(password)s
