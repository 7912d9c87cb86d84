-- Returns the throttles in "cells" that admit no failure at "at", one row per throttle.
-- Parameters: organization_id: of the throttles; cells (integer[]): the numbers of the throttles; at (timestamptz); latest
-- (timestamptz): an admits_at after this instant is ignored, because a wrong clock has written it.
--
-- citus: no shard, because throttles are on the coordinator
-- example: at=1999-04-15T12:00:00+00:00
select cell
from throttles
where organization_id = %(organization_id)s
    and cell = any (%(cells)s::integer[])
    and admits_at > %(at)s::timestamptz
    and admits_at <= %(latest)s::timestamptz
