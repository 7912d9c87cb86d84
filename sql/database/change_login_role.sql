-- Gives the embedded server's login role its password for this start, and only the rights that it should have. The
-- client must write the parameter into the statement. Returns no row. Parameters: password.
--
-- for: operator
alter role agentidp_login
    login noinherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls
    password %(password)s
