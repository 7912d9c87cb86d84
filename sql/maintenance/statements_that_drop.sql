-- Returns the statements that drop all tables, views and functions in the schema public, except objects of extensions. One row
-- per statement, in the order in which they must be run.
select statement
from (
    select
        1 as place,
        relname as name,
        format('drop %s if exists public.%I cascade', case relkind when 'v' then 'view' else 'table' end, relname)
            as statement
    from pg_class
    where
        relnamespace = 'public'::regnamespace
        and relkind in ('r', 'p', 'v')
        and not exists (select from pg_depend where objid = pg_class.oid and deptype = 'e')
    union all
    select 2, proname, format('drop routine if exists %s cascade', oid::regprocedure)
    from pg_proc
    where
        pronamespace = 'public'::regnamespace
        and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e')
) as statements
order by place, name
