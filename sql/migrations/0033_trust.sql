-- A credential may be a rule of trust: tokens of another issuer, by which the agent authenticates.

-- The rule as the API has it. It never changes.
alter table credentials add column trust jsonb;
alter table credentials drop constraint credentials_kind_check;
-- Not valid: what is stored already is not read.
alter table credentials
    add constraint credentials_kind_check check (num_nonnulls(secret_hash, jwks, trust) = 1) not valid;

create or replace view client_credentials with (security_invoker = true) as
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
