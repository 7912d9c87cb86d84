-- Returns all organizations, one row per organization, oldest first.
--
-- for: operator
select {organization}
from organizations
order by created_at, organization_id
