-- Adds redirect URIs of agents, the maximum age of grants, and grants, for the authorization code flow.

alter table agents add column redirect_uris text[] not null default '{}';

-- The maximum age of a grant by the rule, in days. Afterwards the person must allow the access again.
alter table delegation_rules add column grant_days integer not null default 30;

-- The access that people have allowed. A row begins as an authorization code, which is valid for a minute, and becomes a refresh
-- token. When the grant ends, the row is deleted and its id is added to revoked_tokens, so that its access tokens end too.
create table grants (
    organization_id text collate "C" not null references organizations,
    -- The beginning of the SHA-256 of the handle, a random value that all codes and refresh tokens of the grant contain.
    grant_id uuid not null,
    agent_id uuid not null,
    delegation_rule_id uuid not null,
    -- The person who allows the access: the person's issuer, and the digest that is the sub of the access tokens.
    issuer text not null,
    subject text collate "C" not null,
    -- The person's sub at the issuer, encrypted. The key is derived from the handle, which is not stored.
    subject_encrypted bytea not null,
    resource text not null,
    scopes text[] not null,
    -- The SHA-256 of the only valid token: the code or the newest refresh token.
    token_digest bytea not null check (octet_length(token_digest) = 32),
    -- The code's PKCE challenge and redirect URI. Null: the code was redeemed.
    challenge text,
    redirect_uri text,
    -- The thumbprint of the key that must redeem the code and refresh tokens (RFC 9449 sections 5 and 10). Null: any key.
    jkt text,
    -- The maximum age of the grant in days, copied from the rule.
    days integer not null,
    created_at timestamptz not null,
    -- The instant at which the last access token was issued. Null: the code was not redeemed.
    last_used_at timestamptz,
    expires_at timestamptz not null,
    primary key (organization_id, grant_id),
    foreign key (organization_id, agent_id) references agents,
    check ((challenge is null) = (redirect_uri is null) and (challenge is null) = (last_used_at is not null))
);
-- The condition of each index is always true. A statement that repeats the condition can use the index. Without the conditions, a
-- plan that was made on an empty table would read one of the indexes in place of the primary key.
create index grants_organization_id_agent_id_idx on grants (organization_id, agent_id)
    where agent_id >= '00000000-0000-0000-0000-000000000000';
create index grants_organization_id_delegation_rule_id_idx on grants (organization_id, delegation_rule_id)
    where delegation_rule_id >= '00000000-0000-0000-0000-000000000000';
create index grants_organization_id_subject_agent_id_idx on grants (organization_id, subject, agent_id)
    where expires_at > '-infinity';
create index grants_organization_id_expires_at_idx on grants (organization_id, expires_at)
    where expires_at < 'infinity';
alter table grants enable row level security, force row level security;
create policy own_organization on grants using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update, delete on grants to agentidp_service;
