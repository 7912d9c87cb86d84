-- Counts the demo's tokens by exchange per subject, in addition to the counters per agent. Returns no row.
-- Parameters: organization_id; counts (jsonb): an array of objects with the members day, agent_id, resource, tokens, and either
-- subject_agent_id or the issuer of people.
--
-- citus: in steps
insert into delegation_usage_daily (
    organization_id, day, agent_id, subject_agent_id, issuer, resource, slot, tokens
)
select
    %(organization_id)s,
    given.day,
    given.agent_id,
    coalesce(given.subject_agent_id, nil_uuid()),
    coalesce(given.issuer, ''),
    given.resource,
    -- Slot 16 has imported usage. Issuing a token never writes to it.
    16,
    given.tokens
from jsonb_to_recordset(%(counts)s::jsonb) as given (
    day date,
    agent_id uuid,
    subject_agent_id uuid,
    issuer text,
    resource text,
    tokens bigint
)
-- No row conflicts, but without this clause Citus would run COPY, which row-level security refuses.
on conflict do nothing
