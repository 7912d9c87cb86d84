-- Returns one row: may_copy: whether PostgreSQL lets this role copy rows into tables under row-level security, which also
-- applies to the owner of the tables; has_schema: whether agentidp db migrate was run.
select rolsuper or rolbypassrls as may_copy, to_regclass('schema_migrations') is not null as has_schema
from pg_roles
where rolname = current_user
