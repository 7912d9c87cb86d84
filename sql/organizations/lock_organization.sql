-- Locks an organization until the transaction ends, but lets other transactions insert rows that reference it. Returns the
-- organization's row, or no row if it does not exist. Run this statement before objects with a maximum number are counted and
-- added, so that the count includes objects that other transactions have added.
-- Parameters: organization_id.
select {organization}
from organizations
where organization_id = %(organization_id)s
for no key update
