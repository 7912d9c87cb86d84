-- Counts the demo's tokens by exchange per subject, in addition to the counters per agent. Returns no row.
-- Parameters: organization_id; counts (jsonb): an array of objects with the members day, agent_id, subject_agent_id, resource
-- and tokens.
--
-- citus: in steps
insert into delegation_usage_daily (
    organization_id, day, agent_id, subject_agent_id, issuer, resource, slot, tokens
)
select
    %(organization_id)s,
    given.day,
    given.agent_id,
    given.subject_agent_id,
    '',
    given.resource,
    -- The slot of imported usage, as in usage_history/add_usage.
    16,
    given.tokens
from jsonb_to_recordset(%(counts)s::jsonb) as given (
    day date,
    agent_id uuid,
    subject_agent_id uuid,
    resource text,
    tokens bigint
)
-- There is never a conflict, but without this clause Citus copies the rows, which row-level security refuses.
on conflict do nothing
