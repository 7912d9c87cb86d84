-- An organization can be renamed, suspended and deleted.

alter table organizations add column suspended_at timestamptz;
grant update (name) on organizations to agentidp_service;

-- Nobody acts for a suspended organization.
create or replace view active_agents with (security_invoker = true) as
select
    agents.organization_id,
    agents.agent_id,
    agents.name,
    agents.scopes,
    agents.dpop_bound_access_tokens
from agents
join organizations using (organization_id)
where
    agents.status = 'active'
    -- Not deleted, in terms that leave the planner no index but the key.
    and coalesce(agents.deleted_at, 'infinity') = 'infinity'
    and organizations.suspended_at is null;
