-- Returns the statements with which a superuser lets the current role create the role agentidp_service or, if that role exists on
-- this PostgreSQL server, use it. One row per missing right. Parameters: creates_role: whether the current role will run "create
-- role agentidp_service" even if the role exists.
--
-- for: operator
with server as (
    -- Since PostgreSQL 16, the current role can grant agentidp_service to others only with the admin option for agentidp_service.
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
