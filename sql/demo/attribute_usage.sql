-- Counts the demo's tokens per credential and resource, in addition to the counters per agent. Returns no row.
-- Parameters: organization_id; counts (jsonb): an array with one object per day, agent, credential and resource, each with the
-- members day, agent_id, credential_id, resource and tokens_by_hour.
--
-- citus: runs in several steps
insert into credential_usage_daily (
    organization_id, day, agent_id, credential_id, resource, slot, tokens, tokens_by_hour
)
select
    %(organization_id)s,
    demo_counts.day,
    demo_counts.agent_id,
    demo_counts.credential_id,
    demo_counts.resource,
    -- Counter rows with slot 16 contain only imported usage. Issued tokens are counted in the slots from 0 to 15.
    16,
    (select sum(hours.tokens) from unnest(demo_counts.tokens_by_hour) as hours (tokens)),
    demo_counts.tokens_by_hour
from jsonb_to_recordset(%(counts)s::jsonb) as demo_counts (
    day date,
    agent_id uuid,
    credential_id uuid,
    resource text,
    tokens_by_hour integer[]
)
-- This clause makes Citus run INSERT instead of COPY, which row-level security refuses. No row is in conflict.
on conflict do nothing
