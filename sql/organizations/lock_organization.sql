-- Locks an organization until the transaction ends, but other transactions may still reference it. Returns the organization's
-- row, or no row if it does not exist. A transaction that adds a thing of which an organization may have a maximum number locks
-- the organization first and then counts, so that the count includes what other transactions have added.
-- Parameters: organization_id.
select {organization}
from organizations
where organization_id = %(organization_id)s
for no key update
