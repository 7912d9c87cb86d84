-- One organization. One row, or no row if it does not exist. Parameters: organization_id; at is not used.
select {organization}
from organizations
where organization_id = %(organization_id)s
