-- Returns the nil UUID (RFC 9562 section 5.9), which no agent has. As an agent_id it stands for the organization in quotas, and for
-- all unknown clients in agent_usage_daily and rejected_networks. As a subject_agent_id it stands for all subjects of another
-- issuer in delegation_usage_daily. It is the lowest UUID, so every agent_id is greater than or equal to it.
create or replace function nil_uuid() returns uuid
    language sql immutable
    return '00000000-0000-0000-0000-000000000000'::uuid;
