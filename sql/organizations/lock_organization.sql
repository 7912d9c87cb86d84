-- Locks an organization until the transaction ends; others may still reference it. Its row, or none if it does not exist.
-- Whoever adds what an organization may have only so many of locks it first, and then counts what others have added.
-- Parameters: organization_id.
select {organization}
from organizations
where organization_id = %(organization_id)s
for no key update
