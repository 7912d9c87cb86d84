-- Signing keys, resource servers, revoked tokens, used identifiers, and throttles of failed authentications.

-- The keys belong to the instance, because the resource servers of all organizations verify tokens with the same keys.
create table signing_keys (
    kid text primary key,
    -- The algorithm. It has its own column, because a revocation erases the private key, and a list of the keys still shows the
    -- algorithm.
    alg text not null,
    -- Encrypted by AES-256-GCM with a key derived from the instance secret; the kid is the associated data. Empty after a
    -- revocation.
    private_key_encrypted bytea not null,
    created_at timestamptz not null,
    signs_from timestamptz not null,
    -- The instant from which the key no longer verifies tokens.
    revoked_at timestamptz
);

-- The service only reads keys. The operator, who owns the table, creates, rotates, revokes and re-encrypts keys by command line.
grant select on signing_keys to agentidp_service;

-- The resource servers for which an organization's agents may request tokens (RFC 8707).
create table resource_servers (
    organization_id text collate "C" not null references organizations,
    resource_server_id uuid not null,
    -- The identifier as it was registered. It cannot be changed.
    resource text not null,
    name text not null,
    scopes text[] not null,
    created_at timestamptz not null,
    -- Whether each token is for one call. If so, findings do not expect agents to cache the tokens.
    token_per_call boolean not null default false,
    -- The aud of the tokens. Null: the identifier.
    audience text,
    -- The identifier that the organization must own in resource_identifiers to get tokens with this audience. Null: the column
    -- resource.
    audience_claim text,
    -- The lifetime of the tokens in seconds. Null: AGENTIDP_TOKEN_TTL.
    token_ttl integer,
    -- The instant at which token_ttl changed. Tokens that were issued before this instant have another lifetime.
    token_ttl_changed_at timestamptz,
    -- The sub of the tokens: the agent's id, or the ids of the organization and of the agent.
    subject text not null default 'agent' check (subject in ('agent', 'organization-agent')),
    -- The agent that runs the resource server. It may exchange tokens that were issued for the resource server. Null: no agent.
    agent_id uuid,
    primary key (organization_id, resource_server_id),
    constraint resource_servers_organization_id_resource_key unique (organization_id, resource),
    foreign key (organization_id, agent_id) references agents
);
-- This index is for the foreign key: when an agent's row is deleted, PostgreSQL would otherwise read all resource servers.
create index resource_servers_organization_id_agent_id_idx on resource_servers (organization_id, agent_id)
    where agent_id is not null;
alter table resource_servers enable row level security, force row level security;
create policy own_organization on resource_servers using (organization_id = current_setting('agentidp.organization_id', true));
-- The operator, who owns the tables, sees which organizations have registered an identifier.
create policy operator on resource_servers for select to current_user using (true);
grant
    select,
    insert,
    update (name, scopes, token_per_call, audience, audience_claim, token_ttl, token_ttl_changed_at, subject, agent_id),
    delete
on resource_servers to agentidp_service;

-- The organization that owns a resource identifier. Only the owner gets tokens with the identifier as `aud`. The row stays when
-- the resource server is deleted, because a service that still trusts this issuer must not start to trust another organization.
-- Like the table clients, this table has no foreign key, because on Citus every node has the entire table,
-- but not all organizations.
create table resource_identifiers (
    -- The identifier, normalized by resource_key().
    resource text collate "C" primary key,
    organization_id text collate "C" not null,
    claimed_at timestamptz not null
);
create index resource_identifiers_organization_id_idx on resource_identifiers (organization_id);
alter table resource_identifiers enable row level security, force row level security;
create policy own_organization on resource_identifiers using (organization_id = current_setting('agentidp.organization_id', true));
-- The operator, who owns the tables, assigns identifiers by command line.
create policy operator on resource_identifiers to current_user using (true);
-- The service may claim an identifier, but not transfer or release it.
grant select, insert on resource_identifiers to agentidp_service;

-- Tokens that were revoked before they expired (RFC 7009). After expires_at, a row is not needed any more, because the token is
-- refused as expired.
create table revoked_tokens (
    organization_id text collate "C" not null,
    jti text not null,
    expires_at timestamptz not null,
    primary key (organization_id, jti)
);
create index revoked_tokens_organization_id_expires_at_idx on revoked_tokens (organization_id, expires_at);
alter table revoked_tokens enable row level security, force row level security;
create policy own_organization on revoked_tokens using (organization_id = current_setting('agentidp.organization_id', true));
-- The service never updates a row, but its select "for update" of expired rows needs the right to update.
grant select, insert, update, delete on revoked_tokens to agentidp_service;

-- Digests of identifiers that are accepted only once: the jti of client assertions, ID-JAGs, DPoP proofs and sign-in links, and the
-- keys of forms. created_id is the id of the object that a form has created, or null.
create table used_identifiers (
    organization_id text collate "C" not null,
    digest bytea not null,
    expires_at timestamptz not null,
    created_id uuid,
    primary key (organization_id, digest)
);
create index used_identifiers_organization_id_expires_at_idx on used_identifiers (organization_id, expires_at);
alter table used_identifiers enable row level security, force row level security;
create policy own_organization on used_identifiers using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update, delete on used_identifiers to agentidp_service;

-- Throttles of failed authentications by client and address, one row per cell. A cell is a number in a fixed range, to which client
-- and address are hashed, so the table cannot grow without limit. admits_at is the instant from which the cell admits another
-- failure: the theoretical arrival time of the generic cell rate algorithm less its tolerance. The row of a cell without a failure
-- for a minute may be deleted. organization_id is the same in all rows, because throttles are read before the client's
-- organization is known.
--
-- The table is logged although its rows may get lost in a crash. If a database with an unlogged table is copied (create database
-- ... template), PostgreSQL 15 to 18 do not recreate the table's index after a crash, and each failed authentication then raises
-- XX002. The log costs little, because the transaction of a failure commits with synchronous_commit = off.
create table throttles (
    organization_id text collate "C" not null,
    cell integer not null,
    admits_at timestamptz not null,
    primary key (organization_id, cell)
) with (fillfactor = 50);
alter table throttles enable row level security, force row level security;
create policy own_organization on throttles using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update, delete on throttles to agentidp_service;
