-- Admits an authenticated agent and counts its request. One row if the agent is active; no row, and
-- nothing counted, if it is suspended, deleted or unknown, or if its token is revoked.
-- Parameters: organization_id; agent_id; jti: of the token; day and hour: of the request in UTC;
-- durable: false lets the commit be acknowledged before it is on disk.
select agent_id
from admit_request(
    -- On Citus, a function may read the rows of this very value only, which must have the column's collation.
    %(organization_id)s::text collate "C",
    %(agent_id)s::uuid,
    %(jti)s::text,
    %(day)s::date,
    %(hour)s::integer,
    %(durable)s::boolean
) as admitted (agent_id)
