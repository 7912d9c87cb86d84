-- One organization. One row, or none if it does not exist. Parameters: organization_id; at is not used.
select organization_id, name, monthly_token_budget, suspended_at, created_at, suspend_dormant_after_days
from organizations
where organization_id = %(organization_id)s
