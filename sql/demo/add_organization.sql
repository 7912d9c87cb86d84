-- Creates the demo organization unless it is there; waits for another process that is making it. One row if it
-- was created, otherwise none. Parameters: organization_id; name; monthly_token_budget;
-- at (timestamptz).
--
-- for: operator
insert into organizations (organization_id, name, monthly_token_budget, created_at)
values (%(organization_id)s, %(name)s, %(monthly_token_budget)s, %(at)s)
on conflict (organization_id) do nothing
returning organization_id
