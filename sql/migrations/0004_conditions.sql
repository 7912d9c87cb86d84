-- One function per condition: whether an organization, an agent or a credential is active or valid. PostgreSQL replaces a call by
-- the function's expression when it plans a statement, so a call costs nothing at run time, and indexes match the expression. The
-- functions take columns and not rows, because on Citus a row of a shard does not have the type of the table.

create function is_active_organization(suspended_at timestamptz) returns boolean
    language sql immutable
    return suspended_at is null;

-- The function replaces null by infinity, because with "deleted_at is null", a plan that was made on an empty table would read
-- the partial indexes and not the primary key.
create function is_not_deleted(deleted_at timestamptz) returns boolean
    language sql immutable
    return coalesce(deleted_at, 'infinity') = 'infinity';

create function is_active_agent(status text, deleted_at timestamptz) returns boolean
    language sql immutable
    return status = 'active' and is_not_deleted(deleted_at);

create function is_credential_in_force(expires_at timestamptz, revoked_at timestamptz, at timestamptz) returns boolean
    language sql immutable
    return revoked_at is null and (expires_at is null or expires_at > at);

-- Returns whether a credential has the secret, key or rule of trust that a client has presented. presented_jwk is a JSON array
-- with one key, or a rule of trust. Secrets have 256 random bits, so the time to compare their digests does not help to guess one.
create function is_credential_presented(
    secret_hash bytea, jwks jsonb, trust jsonb, presented_secret_hash bytea, presented_jwk jsonb
) returns boolean
    language sql immutable
    return secret_hash = presented_secret_hash
        or (presented_secret_hash is null and (jwks @> presented_jwk or trust = presented_jwk));

-- The view client_credentials stays, because servers of release 1.0.0 still use it.
create or replace view active_agents with (security_invoker = true) as
select agents.organization_id, agents.agent_id, agents.name, agents.scopes, agents.dpop_bound_access_tokens
from agents
join organizations using (organization_id)
where is_active_agent(agents.status, agents.deleted_at) and is_active_organization(organizations.suspended_at);
