-- Admits an authenticated agent and counts its request. One row if the agent is active; no row, and
-- nothing counted, if it is suspended, deleted or unknown, or if its token is revoked.
-- Parameters: organization_id; agent_id; jti: of the token; day and hour: of the request in UTC;
-- durable: false lets the commit be acknowledged before it is on disk.
select agent_id
from admit_request(
    -- On Citus, a function may read the rows of this very value only, which must have the column's collation.
    p_organization_id => %(organization_id)s::text collate "C",
    p_agent_id => %(agent_id)s::uuid,
    p_jti => %(jti)s::text,
    p_day => %(day)s::date,
    p_hour => %(hour)s::integer,
    p_durable => %(durable)s::boolean
) as admitted (agent_id)
