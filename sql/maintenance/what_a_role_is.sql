-- Returns the current role, its rights, and the current database with its time zone. Returns one row.
select
    current_user::text as role_name,
    current_database()::text as database_name,
    rolsuper as is_superuser,
    to_regclass('schema_migrations') is not null as has_schema,
    coalesce((select pg_has_role(relowner, 'usage') from pg_class where oid = to_regclass('schema_migrations')), false)
        as is_owner,
    coalesce(pg_has_role(to_regrole('agentidp_service'), 'member'), false) as may_serve,
    current_setting('timezone') as time_zone
from pg_roles
where rolname = current_user
