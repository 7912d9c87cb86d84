-- Sets the monthly token budget of an organization. Returns its row, or none if it does not exist.
-- Parameters: organization_id; monthly_token_budget: tokens, or null for no budget.
update organizations
set monthly_token_budget = %(monthly_token_budget)s::bigint
where organization_id = %(organization_id)s
returning {organization}
