-- An organization's own OpenID Connect provider, at which its people sign in. An organization has at most one.
create table openid_providers (
    organization_id text collate "C" not null references organizations,
    openid_provider_id uuid not null,
    -- A new value at each change. A sign-in, a form or a session that began with another version is refused.
    version uuid not null,
    issuer text not null,
    client_id text not null,
    -- The client secret, encrypted under the instance secret. Null: a public client, which has no secret.
    sealed bytea,
    scopes text[] not null,
    role_claim text,
    administrators text[] not null,
    viewers text[] not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (organization_id)
);
alter table openid_providers enable row level security, force row level security;
create policy own_organization on openid_providers using (organization_id = current_setting('agentidp.organization_id', true));
-- The operator, who owns the tables, re-encrypts the secrets of all organizations.
create policy operator on openid_providers to current_user using (true);
grant select, insert, update, delete on openid_providers to agentidp_service;
