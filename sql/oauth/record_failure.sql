-- Counts a failed authentication at "at" in cells that are held (oauth/hold_throttles), unless one of them admits no
-- further failure: then in none, so that going on does not prolong the throttle. Returns one row where that is so,
-- with the time to wait, and otherwise no row. Forgets the cells nearby that have had more than a minute's rest.
-- Parameters: organization_id: where throttles are; cells (integer[]); intervals (interval[]): what a failure takes to
-- be forgotten in each; nearby: how many cells, from the first on, are looked through; at (timestamptz).
with held as materialized (
    select max(admits_at) as admits_at
    from throttles
    where
        organization_id = %(organization_id)s
        and cell = any (%(cells)s::integer[])
),
admitted as (
    update throttles
    set admits_at = throttles.admits_at + given.every
    from unnest(%(cells)s::integer[], %(intervals)s::interval[]) as given (cell, every)
    cross join held
    where
        throttles.organization_id = %(organization_id)s
        and throttles.cell = given.cell
        and held.admits_at <= %(at)s
),
forgotten as (
    delete from throttles
    -- By their place: a join would be planned by what the table held when the plan was made.
    where organization_id = %(organization_id)s and ctid = any (array(
        select ctid
        from throttles
        where
            organization_id = %(organization_id)s
            and cell >= (%(cells)s::integer[])[1]
            and cell < (%(cells)s::integer[])[1] + %(nearby)s::integer
            -- Of those that are held, none is at rest.
            and admits_at < %(at)s::timestamptz - interval '1 minute'
        -- Never waits, and comes after everything that does.
        for update skip locked
    ))
)
select admits_at - %(at)s::timestamptz as wait
from held
where admits_at > %(at)s
