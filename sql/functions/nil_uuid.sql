-- The nil UUID (RFC 9562 section 5.9), which is no agent's id. As an agent_id it stands for the organization in quotas, for all
-- unknown clients in agent_usage_daily and rejected_networks, and as a subject_agent_id for all subjects of another issuer in
-- delegation_usage_daily. In a comparison it is the lowest UUID, so every row passes.
create or replace function nil_uuid() returns uuid
    language sql immutable
    return '00000000-0000-0000-0000-000000000000'::uuid;
