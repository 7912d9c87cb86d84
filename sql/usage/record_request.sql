-- Admits a request of an authenticated agent and counts it. Returns one row if the agent is active. Returns no row and counts
-- nothing if the agent is suspended, deleted or unknown, if its organization is suspended, or if its token is revoked or ended.
-- Parameters: organization_id; agent_id; jti and issued_at (timestamptz): of the token; day and hour: of the request in UTC;
-- durable: false lets the commit be acknowledged before it is on disk.
select agent_id
from admit_request(
    -- Citus runs the function on the worker with the organization's rows only if the argument has the collation "C", like the
    -- column organization_id.
    p_organization_id => %(organization_id)s::text collate "C",
    p_agent_id => %(agent_id)s::uuid,
    p_jti => %(jti)s::text,
    p_issued_at => %(issued_at)s::timestamptz,
    p_day => %(day)s::date,
    p_hour => %(hour)s::integer,
    p_durable => %(durable)s::boolean
) as admitted (agent_id)
