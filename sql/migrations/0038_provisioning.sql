-- First sight: rules by which an organization creates agents for subjects of other issuers.

-- Whether its rules create agents.
alter table organizations add column provisions_agents boolean not null default false;
grant update (provisions_agents) on organizations to agentidp_service;

-- A row never changes.
create table provisioning_rules (
    organization_id text collate "C" not null references organizations,
    provisioning_rule_id uuid not null,
    name text not null,
    -- Whose tokens, as in credentials.
    trust jsonb not null,
    -- What an agent that it creates is given, as the API has it.
    agent_template jsonb not null,
    max_agents integer not null,
    created_at timestamptz not null,
    primary key (organization_id, provisioning_rule_id),
    unique (organization_id, name)
);

alter table provisioning_rules enable row level security, force row level security;
create policy own_organization on provisioning_rules
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, delete on provisioning_rules to agentidp_service;

-- Of an agent that a rule has created: the name of the rule, issuer, subject, and after how many days it expires, as the API has
-- them. Null for any other, and once it is erased.
alter table agents add column provisioned jsonb;
-- The SHA-256 of issuer and subject. It stays when the agent is deleted, so that the subject gets no other one; null for any other
-- agent, and once it has expired.
alter table agents add column provisioned_selector bytea;
create unique index agents_organization_id_provisioned_selector_idx on agents (organization_id, provisioned_selector)
    where provisioned_selector is not null;
create index agents_organization_id_provisioned_idx on agents (organization_id, (provisioned ->> 'rule'))
    where provisioned is not null and deleted_at is null;
