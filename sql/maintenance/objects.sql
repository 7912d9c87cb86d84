-- Returns the tables, views and functions of AgentIdP, one row per object: name; is_executable: whether the service may call the
-- function (true for a table or view).
select relname::text as name, true as is_executable
from pg_class
where
    relnamespace = 'public'::regnamespace
    and relkind in ('r', 'p', 'v')
    and not exists (select from pg_depend where objid = pg_class.oid and deptype = 'e')
union all
select proname::text, coalesce(has_function_privilege(to_regrole('agentidp_service'), oid, 'execute'), false)
from pg_proc
where
    pronamespace = 'public'::regnamespace
    and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e')
