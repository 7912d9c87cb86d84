-- Locks an organization until the transaction ends, but other transactions may still reference it. Returns the organization's
-- row, or no row if it does not exist. If an organization may have a maximum number of objects of a kind, a transaction that adds
-- such an object locks the organization first and then counts, so that the count includes objects of other transactions.
-- Parameters: organization_id.
select {organization}
from organizations
where organization_id = %(organization_id)s
for no key update
