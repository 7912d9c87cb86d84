-- Our functions that Citus's workers do not have yet. One row per function, by name: its signature.
-- Parameters: none.
select ours.oid::regprocedure::text as signature
from pg_proc as ours
where
    ours.pronamespace = 'public'::regnamespace
    and not exists (
        select
        from pg_depend
        where classid = 'pg_proc'::regclass and objid = ours.oid and deptype = 'e'
    )
    and not exists (
        select
        from pg_dist_object
        where classid = 'pg_proc'::regclass and objid = ours.oid
    )
order by signature
