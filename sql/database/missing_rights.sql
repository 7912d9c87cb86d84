-- Returns the statements that a superuser must run so that the role that has logged in may create the role agentidp_service or,
-- if another installation on the same server has created that role, may use it. One row per statement. Parameters: creates_role:
-- whether the role is to be created even if it exists.
--
-- for: operator
with server as (
    -- Since PostgreSQL 16, a role that may create roles can grant only the roles for which it has the admin option.
    select
        current_setting('server_version_num')::integer >= 160000 as has_administrators,
        %(creates_role)s::boolean or to_regrole('agentidp_service') is null as must_create
)

select format(needed.statement, login.rolname) as statement
from
    server,
    pg_roles as login,
    lateral (
        values
            ('alter role %%I createrole', server.must_create and not login.rolcreaterole),
            (
                'grant agentidp_service to %%I',
                (server.has_administrators or not server.must_create and not login.rolcreaterole)
                and not pg_has_role(
                    login.oid,
                    to_regrole('agentidp_service'),
                    case when server.has_administrators then 'set, member with admin option' else 'member' end
                )
            )
    ) as needed (statement, is_missing)
where login.rolname = current_user and not login.rolsuper and needed.is_missing
