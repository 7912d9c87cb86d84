-- One organization. One row, or none where it is not there. Parameters: organization_id; at is not used.
select organization_id, name, monthly_token_budget, created_at
from organizations
where organization_id = %(organization_id)s
