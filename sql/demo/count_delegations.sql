-- Copies the counters per credential of agents that only act for people into the counters of delegations. Returns no row.
-- Parameters: organization_id; agent_ids (uuid[]); issuer: the issuer of the people.
insert into delegation_usage_daily (
    organization_id, day, agent_id, subject_agent_id, issuer, resource, slot, tokens
)
select organization_id, day, agent_id, nil_uuid(), %(issuer)s, resource, slot, tokens
from credential_usage_daily
where organization_id = %(organization_id)s and agent_id = any(%(agent_ids)s::uuid[])
