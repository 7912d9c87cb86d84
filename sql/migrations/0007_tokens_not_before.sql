-- An administrator has ended all tokens that were issued to the agent before this instant. Null: no tokens were ended.
alter table agents add column tokens_not_before timestamptz;

-- Returns true unless the token was issued before its agent's tokens were ended. True if either parameter is null.
create function is_token_in_force(tokens_not_before timestamptz, issued_at timestamptz) returns boolean
    language sql immutable
    return coalesce(issued_at >= tokens_not_before, true);

create or replace view active_agents with (security_invoker = true) as
select
    agents.organization_id, agents.agent_id, agents.name, agents.scopes, agents.dpop_bound_access_tokens,
    agents.tokens_not_before
from agents
join organizations using (organization_id)
where is_active_agent(agents.status, agents.deleted_at) and is_active_organization(organizations.suspended_at);
