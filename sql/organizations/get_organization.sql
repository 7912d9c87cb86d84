-- Returns one organization. Returns one row, or no row if it does not exist. Parameters: organization_id.
select {organization}
from organizations
where organization_id = %(organization_id)s
