-- The nil UUID stands for the organization where an agent's id may stand, as in quotas, and for an unknown agent.

-- Not valid: what is stored already is not read.
alter table agents add constraint agents_agent_id_check
    check (agent_id <> '00000000-0000-0000-0000-000000000000') not valid;
