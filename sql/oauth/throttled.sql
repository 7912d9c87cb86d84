-- Returns one row for each of several throttles that admits no failure at "at".
-- Parameters: organization_id: where throttles are; cells (integer[]): the throttles' numbers; at (timestamptz); latest
-- (timestamptz): what is later was written by a wrong clock, and is ignored.
--
-- citus: no shard, because throttles are on the coordinator
-- example: at=1999-04-15T12:00:00+00:00
select cell
from throttles
where organization_id = %(organization_id)s
    and cell = any (%(cells)s::integer[])
    and admits_at > %(at)s::timestamptz
    and admits_at <= %(latest)s::timestamptz
