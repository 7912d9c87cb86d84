-- Public keys as credentials, revocation, single-use identifiers, resource servers, DPoP and throttling.

-- A credential is a secret or a set of public keys (RFC 7523), never both.
alter table credentials
    alter column secret_hash drop not null,
    add column jwks jsonb,
    add constraint credentials_kind_check check ((secret_hash is null) <> (jwks is null));

-- RFC 9449 section 5.2: such an agent gets only tokens that are bound to a key.
alter table agents add column dpop_bound_access_tokens boolean not null default false;

-- Tokens that were revoked before they expired (RFC 7009); a row is of no use once expires_at has passed.
create table revoked_tokens (
    organization_id text collate "C" not null,
    jti text not null,
    expires_at timestamptz not null,
    primary key (organization_id, jti)
);
create index revoked_tokens_organization_id_expires_at_idx on revoked_tokens (organization_id, expires_at);

-- The jti of each client assertion and DPoP proof that was accepted, as a digest, so that none is accepted twice.
create table used_identifiers (
    organization_id text collate "C" not null,
    digest bytea not null,
    expires_at timestamptz not null,
    primary key (organization_id, digest)
);
create index used_identifiers_organization_id_expires_at_idx on used_identifiers (organization_id, expires_at);

-- The resource servers that an organization's agents may ask tokens for (RFC 8707).
create table resource_servers (
    organization_id text collate "C" not null references organizations,
    resource_server_id uuid not null,
    resource text not null,
    name text not null,
    scopes text[] not null,
    created_at timestamptz not null,
    primary key (organization_id, resource_server_id),
    constraint resource_servers_organization_id_resource_key unique (organization_id, resource)
);

-- Failed authentications by client and by address: the instant from which a cell admits another one, which is the
-- generic cell rate algorithm's theoretical arrival time less its tolerance. A cell is a number, so the table cannot
-- outgrow their range; one that has had a minute's rest may be deleted.
-- organization_id is always that of unknown clients: nobody is known yet when a throttle is looked at.
-- Unlogged: a crash forgets who was throttled, and no failure waits for the disk.
create unlogged table throttles (
    organization_id text collate "C" not null,
    cell integer not null,
    admits_at timestamptz not null,
    primary key (organization_id, cell)
) with (fillfactor = 50);

alter table revoked_tokens enable row level security, force row level security;
alter table used_identifiers enable row level security, force row level security;
alter table resource_servers enable row level security, force row level security;
alter table throttles enable row level security, force row level security;

create policy own_organization on revoked_tokens
    using (organization_id = (select current_setting('agentidp.organization_id', true)));
create policy own_organization on used_identifiers
    using (organization_id = (select current_setting('agentidp.organization_id', true)));
create policy own_organization on resource_servers
    using (organization_id = (select current_setting('agentidp.organization_id', true)));
create policy own_organization on throttles
    using (organization_id = (select current_setting('agentidp.organization_id', true)));
-- The statement that issues a token looks at the throttle while it sees the client's organization.
create policy any_throttle_can_be_looked_at on throttles for select using (true);

-- "for update" needs the right to update.
grant select, insert, update, delete on revoked_tokens, used_identifiers to agentidp_service;
grant select, insert, delete on resource_servers to agentidp_service;
grant select, insert, update, delete on throttles to agentidp_service;
