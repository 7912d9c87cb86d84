-- One resource server of an organization. One row, or none if it does not exist.
-- Parameters: organization_id; resource_server_id; at is not used.
select {resource_server}
from resource_servers
where
    organization_id = %(organization_id)s
    and resource_server_id = %(resource_server_id)s
