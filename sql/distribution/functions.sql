-- Returns our functions that are not yet distributed to the workers, sorted so that a function follows those that it calls, one
-- row per function: signature; argument: the name of the argument that selects the worker, or null if the function runs where
-- it is called.
with ours as (
    select
        functions.oid,
        functions.oid::regprocedure::text as signature,
        -- A function with statements about an organization runs on the worker with the organization's rows.
        case when language.lanname = 'plpgsql' and proargnames[1] = 'p_organization_id' then proargnames[1] end as argument
    from pg_proc as functions
    join pg_language as language on language.oid = functions.prolang
    where
        functions.pronamespace = 'public'::regnamespace
        and not exists (
            select 1
            from pg_depend
            where classid = 'pg_proc'::regclass and objid = functions.oid and deptype = 'e'
        )
)
select ours.signature, ours.argument
from ours
where not exists (
    select 1
    from pg_dist_object
    where
        classid = 'pg_proc'::regclass
        and objid = ours.oid
        and (ours.argument is null or distribution_argument_index is not null)
)
order by ours.argument is not null, ours.signature
