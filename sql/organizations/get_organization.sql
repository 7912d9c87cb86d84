-- One organization. One row, or none where it is not there. Parameters: organization_id.
select organization_id, name
from organizations
where organization_id = %(organization_id)s
