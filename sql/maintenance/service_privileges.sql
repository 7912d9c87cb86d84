-- Returns the privileges of the service's role on tables, views and single columns, one row per privilege.
select relname::text as name, lower(privilege_type) as privilege
from pg_class
cross join lateral aclexplode(relacl) as granted
where relnamespace = 'public'::regnamespace and granted.grantee = to_regrole('agentidp_service')
union all
select relname::text, lower(privilege_type) || ' (' || attname || ')'
from pg_class
inner join pg_attribute on pg_attribute.attrelid = pg_class.oid
cross join lateral aclexplode(attacl) as granted
where relnamespace = 'public'::regnamespace and granted.grantee = to_regrole('agentidp_service')
