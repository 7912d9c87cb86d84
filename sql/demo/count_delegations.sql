-- Counts, per agent and subject, the demo's tokens by which an agent acts for a subject. The counters per agent already include
-- these tokens. Returns no row.
-- Parameters: organization_id; counts (jsonb): an array of objects with the members day, agent_id, resource, tokens, and either
-- subject_agent_id if the subject is an agent, or issuer if the subjects are people.
--
-- citus: runs in several steps
insert into delegation_usage_daily (
    organization_id, day, agent_id, subject_agent_id, issuer, resource, slot, tokens
)
select
    %(organization_id)s,
    demo_counts.day,
    demo_counts.agent_id,
    coalesce(demo_counts.subject_agent_id, nil_uuid()),
    coalesce(demo_counts.issuer, ''),
    demo_counts.resource,
    -- Counter rows with slot 16 contain only imported usage. Issued tokens are counted in the slots from 0 to 15.
    16,
    demo_counts.tokens
from jsonb_to_recordset(%(counts)s::jsonb) as demo_counts (
    day date,
    agent_id uuid,
    subject_agent_id uuid,
    issuer text,
    resource text,
    tokens bigint
)
-- This clause makes Citus run INSERT instead of COPY, which row-level security refuses. No row is in conflict.
on conflict do nothing
