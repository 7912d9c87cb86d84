-- Locks an organization until the transaction ends; others may still reference it. Its row, or none if it does not exist.
-- Parameters: organization_id.
select {organization}
from organizations
where organization_id = %(organization_id)s
for no key update
