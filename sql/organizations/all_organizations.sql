-- All organizations, for the operator. One row per organization, oldest first. Parameters: none.
--
-- for: operator
select {organization}
from organizations
order by created_at, organization_id
