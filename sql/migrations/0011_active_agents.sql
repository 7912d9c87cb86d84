-- The conditions for an agent that may act, and for a credential that may authenticate, in one place each.
--
-- The planner replaces a view by its query, so a statement that uses one is planned as before. With security_invoker
-- the privileges and the row-level security of whoever runs the statement apply, and not those of the view's owner.

create view active_agents with (security_invoker = true) as
select organization_id, agent_id, name, scopes, dpop_bound_access_tokens
from agents
where
    status = 'active'
    -- Not deleted, in terms that leave the planner no index but the key.
    and coalesce(deleted_at, 'infinity') = 'infinity';

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
    credentials.expires_at
from active_agents as agents
join credentials using (organization_id, agent_id)
where credentials.revoked_at is null;

grant select on active_agents, client_credentials to agentidp_service;
