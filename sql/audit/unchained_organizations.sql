-- Returns the organizations that have no chain of audit events, one row per organization: organization_id.
--
-- for: operator
select organization_id
from organizations
where not exists (select from audit_heads where audit_heads.organization_id = organizations.organization_id)
order by organization_id
