-- Returns the functions of AgentIdP that are not yet on the workers, one row per function: signature; argument: the name of the
-- argument that selects the worker, or null if a call runs on the node that makes the call. Functions whose argument is null
-- come first, because the other functions call them.
with ours as (
    select
        functions.oid,
        functions.oid::regprocedure::text as signature,
        -- A function that reads or writes an organization's rows runs on the worker that has these rows.
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
