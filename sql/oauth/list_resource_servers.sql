-- Returns the resource servers of an organization, one row per resource server, oldest first.
-- Parameters: organization_id.
select {resource_server}
from resource_servers
where organization_id = %(organization_id)s
order by created_at, resource_server_id
