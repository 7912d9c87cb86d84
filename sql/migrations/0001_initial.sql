-- The registry (organizations, agents, credentials, the client directory), the signing keys and the counters.
--
-- Every table that holds something of an organization is keyed by it and under forced row-level security: a
-- transaction sees the organization in its setting agentidp.organization_id, and without the setting no row.
-- The service's connections run as agentidp_service, which owns nothing.

do $$
begin
    create role agentidp_service nologin nosuperuser nocreatedb nocreaterole nobypassrls;
exception
    -- Roles belong to the whole cluster: another database may have made it, or be making it now.
    when duplicate_object or unique_violation then null;
end $$;

do $$
begin
    -- A superuser may set any role; granting it one would only leave a trace in the cluster. Anyone else must be
    -- told apart by version: since 16 whoever creates a role is a member of it that may grant but not set it.
    if not (select rolsuper from pg_roles where rolname = current_user)
        and not pg_has_role(
            current_user,
            'agentidp_service',
            case when current_setting('server_version_num')::integer < 160000 then 'member' else 'set' end
        ) then
        execute format('grant agentidp_service to %I', current_user);
    end if;
end $$;

create table organizations (
    organization_id text collate "C" primary key check (organization_id ~ '^org-[0-9a-f-]{36}$'),
    name text not null,
    created_at timestamptz not null
);

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
    primary key (organization_id, agent_id)
);
create unique index agents_organization_id_name_idx on agents (organization_id, name) where deleted_at is null;
create index agents_organization_id_created_at_agent_id_idx on agents (organization_id, created_at, agent_id)
    where deleted_at is null;

-- The client directory: the one way from a client_id to its organization. A row never changes.
create table clients (
    client_id uuid primary key,
    organization_id text collate "C" not null references organizations
);

create table credentials (
    organization_id text collate "C" not null,
    agent_id uuid not null,
    credential_id uuid not null,
    secret_hash bytea not null check (octet_length(secret_hash) = 32),
    created_at timestamptz not null,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    primary key (organization_id, credential_id),
    foreign key (organization_id, agent_id) references agents
);
create index credentials_organization_id_agent_id_idx on credentials (organization_id, agent_id)
    where revoked_at is null;

-- Instance-wide: a token is verified by any organization's resource server.
create table signing_keys (
    kid text primary key,
    alg text not null,
    public_jwk jsonb not null,
    -- AES-256-GCM under a key derived from the instance secret, the kid as associated data.
    private_key_encrypted bytea not null,
    created_at timestamptz not null,
    signs_from timestamptz not null
);

create function count_at(hour integer) returns integer[]
    language sql immutable
    return array_fill(0, array[hour]) || 1 || array_fill(0, array[23 - hour]);

create function count_nothing() returns integer[]
    language sql immutable
    return array_fill(0, array[24]);

-- One row for an organization, a UTC day and a slot. Twenty-four hours in an array, because a reader of 90 days
-- then fetches 90 rows and not 2,160, while counting one more costs the same.
create table usage_daily (
    organization_id text collate "C" not null,
    day date not null,
    slot smallint not null,
    tokens bigint not null,
    tokens_by_hour integer[] not null check (cardinality(tokens_by_hour) = 24),
    requests_by_hour integer[] not null check (cardinality(requests_by_hour) = 24),
    rejected_by_hour integer[] not null check (cardinality(rejected_by_hour) = 24),
    primary key (organization_id, day, slot)
) with (fillfactor = 50);

create table agent_usage_daily (
    organization_id text collate "C" not null,
    day date not null,
    agent_id uuid not null,
    slot smallint not null,
    tokens bigint not null,
    requests bigint not null,
    rejected bigint not null,
    tokens_by_hour integer[] not null check (cardinality(tokens_by_hour) = 24),
    requests_by_hour integer[] not null check (cardinality(requests_by_hour) = 24),
    rejected_by_hour integer[] not null check (cardinality(rejected_by_hour) = 24),
    primary key (organization_id, day, agent_id, slot)
) with (fillfactor = 50);

-- The lowest slot of an organization that no other transaction is counting in; it stays ours until commit. A hot
-- organization's commits then do not wait for one another, and a quiet one keeps a single row a day.
create function take_slot(organization_id text) returns smallint
    language sql volatile
    return coalesce(
        (
            select free.slot
            from generate_series(0, 15) as free (slot)
            -- generate_series counts up. With an "order by", all sixteen would be taken, to sort them.
            where pg_try_advisory_xact_lock(hashtext($1), free.slot)
            limit 1
        ),
        pg_backend_pid() % 16
    );

alter table organizations enable row level security, force row level security;
alter table agents enable row level security, force row level security;
alter table clients enable row level security, force row level security;
alter table credentials enable row level security, force row level security;
alter table usage_daily enable row level security, force row level security;
alter table agent_usage_daily enable row level security, force row level security;

-- The sub-select is evaluated once a statement and not once a row.
create policy own_organization on organizations
    using (organization_id = (select current_setting('agentidp.organization_id', true)));
create policy own_organization on agents
    using (organization_id = (select current_setting('agentidp.organization_id', true)));
create policy own_organization on credentials
    using (organization_id = (select current_setting('agentidp.organization_id', true)));
create policy own_organization on usage_daily
    using (organization_id = (select current_setting('agentidp.organization_id', true)));
create policy own_organization on agent_usage_daily
    using (organization_id = (select current_setting('agentidp.organization_id', true)));
create policy own_organization on clients
    using (organization_id = (select current_setting('agentidp.organization_id', true)));
-- Authentication starts here, before any organization is known.
create policy any_client_can_be_looked_up on clients for select using (true);
-- The operator, who owns the tables, creates organizations and lists them by command line.
create policy operator on organizations to current_user using (true);

grant usage on schema public to agentidp_service;
grant select on schema_migrations to agentidp_service;
grant select on organizations to agentidp_service;
grant select, insert, update on agents to agentidp_service;
grant select, insert on clients to agentidp_service;
grant select, insert, update, delete on credentials to agentidp_service;
grant select, insert on signing_keys to agentidp_service;
grant select, insert, update on usage_daily, agent_usage_daily to agentidp_service;
