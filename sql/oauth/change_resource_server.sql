-- Changes a resource server; null leaves a column as it is. Returns its row, or none if it does not exist.
-- Parameters: organization_id; resource_server_id; name; scopes (text[]).
update resource_servers
set
    name = coalesce(%(name)s::text, name),
    scopes = coalesce(%(scopes)s::text[], scopes)
where
    organization_id = %(organization_id)s
    and resource_server_id = %(resource_server_id)s
returning resource_server_id, resource, name, scopes, created_at
