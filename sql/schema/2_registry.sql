-- Tables of organizations, agents, credentials, provisioning rules, delegation rules and quotas.

create table organizations (
    organization_id text collate "C" primary key check (organization_id ~ '^org-[0-9a-f-]{36}$'),
    name text not null,
    created_at timestamptz not null,
    -- The planned maximum of tokens per UTC calendar month. Findings warn before it is reached. Null: no budget.
    monthly_token_budget bigint check (monthly_token_budget between 1 and 1000000000000),
    -- The instant of the suspension. No agent of a suspended organization may act. Null: not suspended.
    suspended_at timestamptz,
    -- A copy of the organization's own quotas, in the form of the column quotas of the table agents.
    quotas bigint[],
    -- The number of days without a token after which an agent is suspended. Null: never.
    suspend_dormant_after_days integer,
    -- Whether the organization's provisioning rules create agents.
    provisions_agents boolean not null default false
);
alter table organizations enable row level security, force row level security;
create policy own_organization on organizations using (organization_id = current_setting('agentidp.organization_id', true));
-- The operator, who owns the tables, creates organizations and lists them by command line.
create policy operator on organizations to current_user using (true);
grant select, update (name, monthly_token_budget, quotas, suspend_dormant_after_days, provisions_agents) on organizations
    to agentidp_service;

create table agents (
    organization_id text collate "C" not null references organizations,
    agent_id uuid not null,
    name text not null,
    description text not null,
    scopes text[] not null,
    status text not null check (status in ('active', 'suspended')),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- The row of a deleted agent stays, so that its usage can be counted and its id is never used again.
    deleted_at timestamptz,
    -- Whether the agent gets only tokens that are bound to a key (RFC 9449 section 5.2).
    dpop_bound_access_tokens boolean not null default false,
    -- The contact for the agent: a person, a team or an address. Empty: unknown.
    owner text not null default '',
    -- The number of running instances of the agent, from 1 to 10,000. Null: not declared.
    expected_replicas integer,
    -- A copy of the agent's quotas per hour, day and month, each as a signed_quota() or null. Null: no quotas. The transaction that
    -- changes the table quotas also changes the copy. The copy makes checking quotas faster by a third, because issuing a token
    -- reads this row anyway.
    quotas bigint[],
    -- The origin of an agent that a provisioning rule has created, in the API's form: the rule's name, the issuer, the subject,
    -- and the number of days without use after which the agent expires. Null for any other agent, and after an erasure.
    provisioned jsonb,
    -- The SHA-256 of issuer and subject. The hash stays when the agent is deleted, so that no other agent is created for the
    -- subject. Null for an agent that no provisioning rule has created, and after the agent has expired.
    provisioned_selector bytea,
    primary key (organization_id, agent_id)
);
create unique index agents_organization_id_name_idx on agents (organization_id, name) where deleted_at is null;
create index agents_organization_id_created_at_agent_id_idx on agents (organization_id, created_at, agent_id)
    where deleted_at is null;
create unique index agents_organization_id_provisioned_selector_idx on agents (organization_id, provisioned_selector)
    where provisioned_selector is not null;
create index agents_organization_id_provisioned_idx on agents (organization_id, (provisioned ->> 'rule'))
    where provisioned is not null and deleted_at is null;
alter table agents enable row level security, force row level security;
create policy own_organization on agents using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update on agents to agentidp_service;

-- The client directory: the organization of each client_id. A row never changes.
--
-- The table has no foreign key to organizations, because on Citus every node has the whole directory but not all organizations.
-- The organization exists nevertheless, because one statement registers the client and its agent, and agents have a foreign key.
create table clients (
    client_id uuid primary key,
    organization_id text collate "C" not null
);
alter table clients enable row level security, force row level security;
create policy own_organization on clients using (organization_id = current_setting('agentidp.organization_id', true));
-- This policy allows the lookup before the organization is known, because authentication begins with this table.
create policy any_client_can_be_looked_up on clients for select using (true);
grant select, insert on clients to agentidp_service;

-- The credentials of agents. Each is a secret, a set of public keys (RFC 7523), or a rule of trust for another issuer's tokens.
create table credentials (
    organization_id text collate "C" not null,
    agent_id uuid not null,
    credential_id uuid not null,
    secret_hash bytea check (octet_length(secret_hash) = 32),
    created_at timestamptz not null,
    expires_at timestamptz,
    -- The instant of the last use, updated at most once per minute.
    last_used_at timestamptz,
    revoked_at timestamptz,
    jwks jsonb,
    -- The rule of trust, as the JSON object of the API. A rule never changes, but erasing the agent makes the object empty.
    trust jsonb,
    -- The first half of the SHA-256 of the rule's issuer and subject, by which the rule for a token without client_id is found. It
    -- is a column, because under row-level security an index scan can compare columns but not results of functions such as ->>.
    trust_selector uuid,
    -- A text by which people recognize the credential in a list.
    label text check (char_length(label) between 1 and 100),
    primary key (organization_id, credential_id),
    foreign key (organization_id, agent_id) references agents,
    constraint credentials_kind_check check (num_nonnulls(secret_hash, jwks, trust) = 1),
    check ((trust is null) = (trust_selector is null))
);
create index credentials_organization_id_agent_id_idx on credentials (organization_id, agent_id)
    where revoked_at is null;
create index credentials_organization_id_trust_selector_idx on credentials (organization_id, trust_selector)
    where trust_selector is not null and revoked_at is null;
-- This index answers whether a credential of an agent was revoked after a session began.
create index credentials_organization_id_agent_id_revoked_at_idx on credentials (organization_id, agent_id, revoked_at)
    where revoked_at is not null;
-- This index finds the revoked credential whose secret a failed authentication has used.
create index credentials_organization_id_agent_id_revoked_idx on credentials (organization_id, agent_id, secret_hash)
    where revoked_at is not null;
alter table credentials enable row level security, force row level security;
create policy own_organization on credentials using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update, delete on credentials to agentidp_service;

-- Provisioning rules, by which an organization creates agents for subjects of other issuers. A row never changes.
create table provisioning_rules (
    organization_id text collate "C" not null references organizations,
    provisioning_rule_id uuid not null,
    name text not null,
    -- The tokens that the rule accepts, in the form of the column trust of credentials.
    trust jsonb not null,
    -- The members of an agent that the rule creates, in the API's form.
    agent_template jsonb not null,
    max_agents integer not null,
    created_at timestamptz not null,
    primary key (organization_id, provisioning_rule_id),
    unique (organization_id, name)
);
alter table provisioning_rules enable row level security, force row level security;
create policy own_organization on provisioning_rules using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, delete on provisioning_rules to agentidp_service;

-- Delegation rules, by which an agent exchanges another issuer's token for a token of this server. A row never changes.
create table delegation_rules (
    organization_id text collate "C" not null references organizations,
    delegation_rule_id uuid not null,
    name text not null,
    -- The tokens that the rule accepts. If the rule has no audience, a token's audience must be the acting agent's client_id.
    trust jsonb not null,
    -- The agents that may act by the rule.
    agent_ids uuid[] not null check (cardinality(agent_ids) between 1 and 100),
    -- The resources, each with its maximum scopes, in the API's form: [{"resource": "https://...", "scopes": ["a"]}].
    resources jsonb not null,
    created_at timestamptz not null,
    primary key (organization_id, delegation_rule_id),
    unique (organization_id, name)
);
alter table delegation_rules enable row level security, force row level security;
create policy own_organization on delegation_rules using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, delete on delegation_rules to agentidp_service;

-- The maximum numbers of tokens of an agent or an organization in a UTC hour, day or month. The transaction that issues a token
-- checks them. One row per quota. agent_id is nil_uuid() for a quota of the organization.
create table quotas (
    organization_id text collate "C" not null references organizations,
    agent_id uuid not null,
    quota_window text collate "C" not null check (quota_window in ('hour', 'day', 'month')),
    tokens bigint not null check (tokens > 0),
    -- Whether the quota refuses tokens. If false, the quota counts the tokens that it would have refused.
    is_enforced boolean not null,
    -- other_days is the number of tokens on all days of the month except the day other_days_of. Null if the quota is not
    -- per month, or if the tokens are not summed yet.
    other_days_of date,
    other_days bigint,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (organization_id, agent_id, quota_window)
);
alter table quotas enable row level security, force row level security;
create policy own_organization on quotas using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update, delete on quotas to agentidp_service;

-- Dormant agents whose suspension was announced, with the instant of the suspension. The instant is not in the agent's row,
-- because issuing a token reads that row and does not need the instant.
create table announced_suspensions (
    organization_id text collate "C" not null,
    agent_id uuid not null,
    suspends_at timestamptz not null,
    primary key (organization_id, agent_id),
    foreign key (organization_id, agent_id) references agents
);
alter table announced_suspensions enable row level security, force row level security;
create policy own_organization on announced_suspensions using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, delete on announced_suspensions to agentidp_service;

-- Views of agents that may act and of credentials that may authenticate. Migrations 0004 and 0007 replace active_agents. Only servers
-- of release 1.0.0 use client_credentials. Newer servers use the functions of migration 0004.
--
-- With security_invoker, the privileges and the row-level security of the role that runs the statement apply instead of those of
-- the view's owner.

create view active_agents with (security_invoker = true) as
select agents.organization_id, agents.agent_id, agents.name, agents.scopes, agents.dpop_bound_access_tokens
from agents
join organizations using (organization_id)
where
    agents.status = 'active'
    and coalesce(agents.deleted_at, 'infinity') = 'infinity'
    and organizations.suspended_at is null;

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
    credentials.last_used_at,
    credentials.trust
from active_agents as agents
join credentials using (organization_id, agent_id)
where credentials.revoked_at is null;

grant select on active_agents, client_credentials to agentidp_service;
