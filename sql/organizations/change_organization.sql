-- Changes the members of an organization that its own agents may change. Returns the organization's row, or no row if it does not
-- exist.
-- Parameters: organization_id; name; monthly_token_budget: tokens, or null for no budget; suspend_dormant_after_days: null if no
-- agent is suspended; provisions_agents (boolean).
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
