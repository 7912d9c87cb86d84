-- Returns the tables of AgentIdP that must be on the workers, one row per table: name; is_distributed: true if the table must be
-- distributed by organization, false if every node must have all its rows; is_done: whether Citus has distributed or copied the
-- table already. A table comes after the tables that its foreign keys reference.
with recursive ours as (
    select
        tables.oid,
        tables.relname,
        exists (
            select 1
            from pg_index
            join pg_attribute on attrelid = indrelid and attnum = any (indkey)
            where indrelid = tables.oid and indisprimary and attname = 'organization_id'
        ) as is_distributed
    from pg_class as tables
    where
        tables.relnamespace = 'public'::regnamespace
        and tables.relkind in ('r', 'p')
        -- Tables without organizations stay on the coordinator, so that they can be written while a worker is down. The table
        -- throttles stays as well, because all its rows have the same organization: one worker would get the writes of all
        -- failed authentications.
        and tables.relname <> 'throttles'
        and exists (
            select 1
            from pg_attribute
            where attrelid = tables.oid and attname = 'organization_id'
        )
        and not exists (
            select 1
            from pg_depend
            where classid = 'pg_class'::regclass and objid = tables.oid and deptype = 'e'
        )
),
ranked as (
    select oid, 0 as rank
    from ours
    union
    select conrelid, ranked.rank + 1
    from ranked
    join pg_constraint on confrelid = ranked.oid and contype = 'f' and conrelid <> confrelid
    where ranked.rank < (select count(*) from ours)
)
select
    ours.oid::regclass::text as name,
    ours.is_distributed,
    exists (select 1 from pg_dist_partition where logicalrelid = ours.oid) as is_done
from ours
join ranked using (oid)
group by ours.oid, ours.relname, ours.is_distributed
order by ours.is_distributed, max(ranked.rank), ours.relname
