-- All organizations, for the operator. One row per organization, oldest first. Parameters: none.
--
-- for: operator
select organization_id, name, monthly_token_budget, suspended_at, created_at, suspend_dormant_after_days
from organizations
order by created_at, organization_id
