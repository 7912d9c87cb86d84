-- Makes the cells that are missing, and holds them all until the transaction ends; in their order, so that no two
-- transactions wait for each other. Returns no row.
-- Parameters: organization_id: where throttles are; cells (integer[]), each once; intervals (interval[]): what a
-- failure takes to be forgotten in each; at (timestamptz).
insert into throttles (organization_id, cell, admits_at)
select
    %(organization_id)s,
    given.cell,
    -- A cell admits a minute's failures at once, and saves up no more than that.
    %(at)s::timestamptz - interval '1 minute' + given.every
from unnest(%(cells)s::integer[], %(intervals)s::interval[]) as given (cell, every)
order by given.cell
-- A row is held also where the condition leaves it as it is.
on conflict (organization_id, cell) do update
set admits_at = excluded.admits_at
where throttles.admits_at < excluded.admits_at
