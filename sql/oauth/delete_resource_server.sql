-- Deletes a resource server. Returns its row, or no row if it does not exist. Parameters: organization_id; resource_server_id.
delete from resource_servers
where organization_id = %(organization_id)s and resource_server_id = %(resource_server_id)s
returning {resource_server}
