-- Returns whether a backup by the role that has logged in would be complete: sees_all is false if row-level security applies to
-- the role, because it is no superuser and may not bypass it. Returns one row.
select
    current_user::text as role_name,
    current_database()::text as database_name,
    rolsuper or rolbypassrls as sees_all,
    to_regclass('schema_migrations') is not null as has_schema,
    exists (select from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'S'))
        as has_tables
from pg_roles
where rolname = current_user
