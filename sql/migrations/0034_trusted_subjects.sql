-- Whose tokens are whose, over all organizations: a token of another issuer need not come with a client_id.

-- A row for each value by which a rule of trust can be found. selector is the SHA-256 of the issuer and of one value that the
-- rule needs: its subject, or a claim. A row only leads to a rule, which is then compared as a whole.
--
-- No foreign key, as of clients: on Citus it is whole on every node.
create table trusted_subjects (
    selector bytea not null check (octet_length(selector) = 32),
    organization_id text collate "C" not null,
    agent_id uuid not null,
    credential_id uuid not null,
    primary key (selector, credential_id)
);
create index trusted_subjects_organization_id_agent_id_idx on trusted_subjects (organization_id, agent_id);

alter table trusted_subjects enable row level security, force row level security;
create policy own_organization on trusted_subjects
    using (organization_id = current_setting('agentidp.organization_id', true));
-- Authentication without client_id starts here, before any organization is known.
create policy any_subject_can_be_looked_up on trusted_subjects for select using (true);
grant select, insert, delete on trusted_subjects to agentidp_service;
