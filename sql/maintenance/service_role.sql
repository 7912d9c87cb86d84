-- Returns the attributes of the service's role, the tables that it owns, and the roles of which it is a member. Returns one row,
-- or no row if the role does not exist.
select
    rolsuper as is_superuser,
    rolbypassrls as bypasses_row_security,
    array(
        select relname::text from pg_class where relowner = role.oid and relnamespace = 'public'::regnamespace order by 1
    ) as owns,
    array(select roleid::regrole::text from pg_auth_members where member = role.oid order by 1) as member_of
from pg_roles as role
where rolname = 'agentidp_service'
