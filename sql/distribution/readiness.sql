-- Whether PostgreSQL lets this role copy rows into tables under row-level security, which is forced on their owner too.
-- Returns one row: may_copy. Parameters: none.
--
-- for: operator
select rolsuper or rolbypassrls as may_copy
from pg_roles
where rolname = current_user
