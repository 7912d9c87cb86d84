-- Locks a resource server until the transaction ends. Returns its row, or no row if it does not exist.
-- Parameters: organization_id; resource_server_id.
select {resource_server}
from resource_servers
where organization_id = %(organization_id)s and resource_server_id = %(resource_server_id)s
for update
