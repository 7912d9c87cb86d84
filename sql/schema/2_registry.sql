-- Organizations, their agents, and the agents' credentials.

create table organizations (
    organization_id text collate "C" primary key check (organization_id ~ '^org-[0-9a-f-]{36}$'),
    name text not null,
    created_at timestamptz not null,
    -- Tokens in a UTC calendar month that findings warn at; null if the organization has set none.
    monthly_token_budget bigint check (monthly_token_budget between 1 and 1000000000000),
    -- Nobody acts for a suspended organization.
    suspended_at timestamptz
);

alter table organizations enable row level security, force row level security;
create policy own_organization on organizations
    using (organization_id = current_setting('agentidp.organization_id', true));
-- The operator, who owns the tables, creates organizations and lists them by command line.
create policy operator on organizations to current_user using (true);
grant select, update (name, monthly_token_budget) on organizations to agentidp_service;

create table agents (
    organization_id text collate "C" not null references organizations,
    agent_id uuid not null,
    name text not null,
    description text not null,
    scopes text[] not null,
    status text not null check (status in ('active', 'suspended')),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- A deleted agent stays, so that its history can still be counted and its id is never given out again.
    deleted_at timestamptz,
    -- RFC 9449 section 5.2: such an agent gets only tokens that are bound to a key.
    dpop_bound_access_tokens boolean not null default false,
    -- Whom to ask about it: a person, a team or an address. Empty if nobody has said.
    owner text not null default '',
    -- How many instances of it run, from 1 to 10,000. Null if nobody has declared it.
    expected_replicas integer,
    primary key (organization_id, agent_id)
);
create unique index agents_organization_id_name_idx on agents (organization_id, name) where deleted_at is null;
create index agents_organization_id_created_at_agent_id_idx on agents (organization_id, created_at, agent_id)
    where deleted_at is null;

alter table agents enable row level security, force row level security;
create policy own_organization on agents
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update on agents to agentidp_service;

-- The client directory: the one way from a client_id to its organization. A row never changes.
--
-- No foreign key to organizations: on Citus the directory is whole on every node and organizations is not. An agent is
-- registered together with its client by one statement, and has a foreign key of its own.
create table clients (
    client_id uuid primary key,
    organization_id text collate "C" not null
);

alter table clients enable row level security, force row level security;
create policy own_organization on clients
    using (organization_id = current_setting('agentidp.organization_id', true));
-- Authentication starts here, before any organization is known.
create policy any_client_can_be_looked_up on clients for select using (true);
grant select, insert on clients to agentidp_service;

-- What an agent authenticates with: a secret, or a set of public keys (RFC 7523).
create table credentials (
    organization_id text collate "C" not null,
    agent_id uuid not null,
    credential_id uuid not null,
    secret_hash bytea check (octet_length(secret_hash) = 32),
    created_at timestamptz not null,
    expires_at timestamptz,
    -- To the minute.
    last_used_at timestamptz,
    revoked_at timestamptz,
    jwks jsonb,
    -- By which people recognize it in a list.
    label text check (char_length(label) between 1 and 100),
    primary key (organization_id, credential_id),
    foreign key (organization_id, agent_id) references agents,
    constraint credentials_kind_check check ((secret_hash is null) <> (jwks is null))
);
create index credentials_organization_id_agent_id_idx on credentials (organization_id, agent_id)
    where revoked_at is null;
-- Whether a credential of an agent was revoked since a session began.
create index credentials_organization_id_agent_id_revoked_at_idx on credentials (organization_id, agent_id, revoked_at)
    where revoked_at is not null;
-- For a failure whose secret was revoked.
create index credentials_organization_id_agent_id_revoked_idx on credentials (organization_id, agent_id, secret_hash)
    where revoked_at is not null;

alter table credentials enable row level security, force row level security;
create policy own_organization on credentials
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update, delete on credentials to agentidp_service;

-- The conditions for an agent that may act, and for a credential that may authenticate.
--
-- The planner replaces a view by its query. With security_invoker the privileges and the row-level security of whoever
-- runs the statement apply, and not those of the view's owner.

create view active_agents with (security_invoker = true) as
select
    agents.organization_id,
    agents.agent_id,
    agents.name,
    agents.scopes,
    agents.dpop_bound_access_tokens
from agents
join organizations using (organization_id)
where
    agents.status = 'active'
    -- Not deleted, in terms that leave the planner no index but the key.
    and coalesce(agents.deleted_at, 'infinity') = 'infinity'
    and organizations.suspended_at is null;

-- Whether a credential has expired depends on the instant, so the statements compare expires_at.
create view client_credentials with (security_invoker = true) as
select
    agents.organization_id,
    agents.agent_id,
    agents.scopes,
    agents.dpop_bound_access_tokens,
    credentials.credential_id,
    credentials.secret_hash,
    credentials.jwks,
    credentials.created_at,
    credentials.expires_at,
    credentials.last_used_at
from active_agents as agents
join credentials using (organization_id, agent_id)
where credentials.revoked_at is null;

grant select on active_agents, client_credentials to agentidp_service;
