-- Changes an organization. Returns the organization's row, or no row if it does not exist.
-- Parameters: organization_id; name; monthly_token_budget: null for no budget; suspend_dormant_after_days: null if dormant
-- agents are not suspended; provisions_agents (boolean): whether provisioning rules create agents.
--
-- example: name=changed; provisions_agents=true
update organizations
set
    name = %(name)s,
    monthly_token_budget = %(monthly_token_budget)s::bigint,
    suspend_dormant_after_days = %(suspend_dormant_after_days)s::integer,
    provisions_agents = %(provisions_agents)s
where organization_id = %(organization_id)s
returning {organization}
