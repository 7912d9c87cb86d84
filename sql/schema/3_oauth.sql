-- Signing keys, resource servers, and what tokens and failed authentications leave behind.

-- Instance-wide: a token is verified by any organization's resource server.
create table signing_keys (
    kid text primary key,
    -- For lists, also of keys that are revoked. What is published and verified by is derived from the private key.
    alg text not null,
    -- AES-256-GCM under a key derived from the instance secret, the kid as associated data. Empty once it is revoked.
    private_key_encrypted bytea not null,
    created_at timestamptz not null,
    signs_from timestamptz not null,
    -- From then on it verifies nothing.
    revoked_at timestamptz
);

-- Keys are made, rotated, revoked and re-encrypted by the operator's commands, as the owner of the table.
grant select on signing_keys to agentidp_service;

-- The resource servers that an organization's agents may ask tokens for (RFC 8707).
create table resource_servers (
    organization_id text collate "C" not null references organizations,
    resource_server_id uuid not null,
    -- Its identifier, as it was registered, which cannot be changed.
    resource text not null,
    name text not null,
    scopes text[] not null,
    created_at timestamptz not null,
    -- Whether its tokens are for one call each. Findings then do not expect agents to keep them.
    token_per_call boolean not null default false,
    -- The aud of its tokens. Null: its identifier.
    audience text,
    -- What the organization must hold in resource_identifiers to get tokens with that audience. Null: its identifier.
    audience_claim text,
    -- Seconds that its tokens are valid. Null: as many as AGENTIDP_TOKEN_TTL says.
    token_ttl integer,
    -- When token_ttl changed: tokens that were issued before are valid for another time.
    token_ttl_changed_at timestamptz,
    -- The sub of its tokens: the agent's id, or the ids of its organization and of the agent.
    subject text not null default 'agent' check (subject in ('agent', 'organization-agent')),
    -- The agent that runs it, which may exchange its tokens. Null: none does.
    agent_id uuid,
    primary key (organization_id, resource_server_id),
    constraint resource_servers_organization_id_resource_key unique (organization_id, resource),
    foreign key (organization_id, agent_id) references agents
);
-- For the foreign key.
create index resource_servers_organization_id_agent_id_idx on resource_servers (organization_id, agent_id)
    where agent_id is not null;

alter table resource_servers enable row level security, force row level security;
create policy own_organization on resource_servers
    using (organization_id = current_setting('agentidp.organization_id', true));
-- The operator, who owns the tables, sees who has registered an identifier.
create policy operator on resource_servers for select to current_user using (true);
grant
    select,
    insert,
    update (name, scopes, token_per_call, audience, audience_claim, token_ttl, token_ttl_changed_at, subject, agent_id),
    delete
on resource_servers to agentidp_service;

-- Which organization may get tokens for a resource identifier, the `aud` of tokens. A claim outlives the resource server
-- that was registered with it: whoever still trusts this issuer there must not come to trust another organization.
-- Instance-wide, like clients, and without a foreign key for the same reason: on Citus it is whole on every node.
create table resource_identifiers (
    -- A resource_key().
    resource text collate "C" primary key,
    organization_id text collate "C" not null,
    claimed_at timestamptz not null
);
create index resource_identifiers_organization_id_idx on resource_identifiers (organization_id);

alter table resource_identifiers enable row level security, force row level security;
create policy own_organization on resource_identifiers
    using (organization_id = current_setting('agentidp.organization_id', true));
-- The operator, who owns the tables, assigns identifiers by command line.
create policy operator on resource_identifiers to current_user using (true);
-- The service claims, and cannot transfer or release.
grant select, insert on resource_identifiers to agentidp_service;

-- Tokens that were revoked before they expired (RFC 7009); a row is of no use once expires_at has passed.
create table revoked_tokens (
    organization_id text collate "C" not null,
    jti text not null,
    expires_at timestamptz not null,
    primary key (organization_id, jti)
);
create index revoked_tokens_organization_id_expires_at_idx on revoked_tokens (organization_id, expires_at);

alter table revoked_tokens enable row level security, force row level security;
create policy own_organization on revoked_tokens
    using (organization_id = current_setting('agentidp.organization_id', true));
-- "for update" needs the right to update.
grant select, insert, update, delete on revoked_tokens to agentidp_service;

-- The jti of each client assertion, DPoP proof and sign-in link that was accepted, and the key of each form that has created
-- something, as a digest, so that none is accepted twice. created_id is what a form has created.
create table used_identifiers (
    organization_id text collate "C" not null,
    digest bytea not null,
    expires_at timestamptz not null,
    created_id uuid,
    primary key (organization_id, digest)
);
create index used_identifiers_organization_id_expires_at_idx on used_identifiers (organization_id, expires_at);

alter table used_identifiers enable row level security, force row level security;
create policy own_organization on used_identifiers
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update, delete on used_identifiers to agentidp_service;

-- Failed authentications by client and by address: the instant from which a cell admits another one, which is the
-- generic cell rate algorithm's theoretical arrival time less its tolerance. A cell is a number, so the table cannot
-- outgrow their range; one that has had a minute's rest may be deleted.
-- organization_id is always that of unknown clients: nobody is known yet when a throttle is looked at.
--
-- Logged, although a crash might forget it: copied with a database (create database ... template), the index of an unlogged
-- table is not made anew after a crash on PostgreSQL 15 to 18, and then each failed authentication failed with XX002. A
-- failure does not wait for the disk in any case: its transaction commits with synchronous_commit = off.
create table throttles (
    organization_id text collate "C" not null,
    cell integer not null,
    admits_at timestamptz not null,
    primary key (organization_id, cell)
) with (fillfactor = 50);

alter table throttles enable row level security, force row level security;
create policy own_organization on throttles
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update, delete on throttles to agentidp_service;
