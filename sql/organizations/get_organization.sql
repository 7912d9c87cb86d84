-- Returns the row of an organization, or no row if the organization does not exist. Parameters: organization_id.
select {organization}
from organizations
where organization_id = %(organization_id)s
