-- Returns one row if a throttle admits no failure at "at", and none if it does.
-- Parameters: organization_id: where throttles are; cell: the throttle's number; at (timestamptz); latest (timestamptz): what
-- is later was written by a wrong clock, and is ignored.
--
-- citus: no shard, because throttles are on the coordinator
-- example: at=1999-04-15T12:00:00+00:00
select cell
from throttles
where organization_id = %(organization_id)s
    and cell = %(cell)s::integer
    and admits_at > %(at)s::timestamptz
    and admits_at <= %(latest)s::timestamptz
