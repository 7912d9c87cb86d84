-- Locks an organization until the transaction ends; others may still reference it. Its row, or none if it does not exist.
-- Parameters: organization_id.
select organization_id, name, monthly_token_budget, suspended_at, created_at, suspend_dormant_after_days
from organizations
where organization_id = %(organization_id)s
for no key update
