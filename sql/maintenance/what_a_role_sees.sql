-- Returns whether the current role can make a complete backup. Returns one row with sees_all: whether the role sees all rows,
-- because row-level security does not apply to it; has_schema: whether the database has a schema of AgentIdP; has_tables: whether
-- the database has any tables.
select
    current_user::text as role_name,
    current_database()::text as database_name,
    rolsuper or rolbypassrls as sees_all,
    to_regclass('schema_migrations') is not null as has_schema,
    exists (select from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'S'))
        as has_tables
from pg_roles
where rolname = current_user
