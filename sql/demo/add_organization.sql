-- Creates the demo organization unless it exists. Waits for another process that is creating it. Returns one row if the
-- organization was created, otherwise no row.
-- Parameters: organization_id; name; monthly_token_budget; at (timestamptz).
insert into organizations (organization_id, name, monthly_token_budget, created_at)
values (%(organization_id)s, %(name)s, %(monthly_token_budget)s, %(at)s)
on conflict (organization_id) do nothing
returning organization_id
