-- The resource servers of an organization. One row per resource server, oldest first.
-- Parameters: organization_id; at is not used.
select {resource_server}
from resource_servers
where organization_id = %(organization_id)s
order by created_at, resource_server_id
