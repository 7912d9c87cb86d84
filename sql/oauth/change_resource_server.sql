-- Changes a resource server; null leaves a column as it is. Returns its row, or none if it does not exist.
-- Parameters: organization_id; resource_server_id; name; scopes (text[]); token_per_call (boolean).
update resource_servers
set
    name = coalesce(%(name)s::text, name),
    scopes = coalesce(%(scopes)s::text[], scopes),
    token_per_call = coalesce(%(token_per_call)s::boolean, token_per_call)
where
    organization_id = %(organization_id)s
    and resource_server_id = %(resource_server_id)s
returning {resource_server}
