-- Returns one row with may_copy: whether the current role may copy rows into tables that have row-level security (even their
-- owner may not); has_schema: whether agentidp db migrate was run.
select rolsuper or rolbypassrls as may_copy, to_regclass('schema_migrations') is not null as has_schema
from pg_roles
where rolname = current_user
