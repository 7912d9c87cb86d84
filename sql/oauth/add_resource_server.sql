-- Registers a resource server. Returns its row, or no row if the organization already has the maximum number of resource servers.
-- Parameters: organization_id; resource_server_id; resource; name; scopes (text[]); token_per_call (boolean); audience (or null);
-- audience_claim: the identifier that the organization must own to get tokens with this audience (or null); token_ttl and
-- agent_id (or null); subject; at (timestamptz); max_resource_servers.
--
-- example: resource_server_id=0a1b2c3d-0000-4000-8000-000000000001; resource=https://new.example; name=new; scopes={}; token_per_call=true; token_ttl=300; subject=agent; agent_id=null
insert into resource_servers (
    organization_id, resource_server_id, resource, name, scopes, token_per_call, audience, audience_claim, token_ttl, subject,
    agent_id, created_at
)
select
    %(organization_id)s, %(resource_server_id)s::uuid, %(resource)s::text, %(name)s::text, %(scopes)s::text[],
    %(token_per_call)s::boolean, %(audience)s::text, %(audience_claim)s::text, %(token_ttl)s::integer, %(subject)s::text,
    %(agent_id)s::uuid, %(at)s::timestamptz
where (select count(*) from resource_servers where organization_id = %(organization_id)s) < %(max_resource_servers)s
returning {resource_server}
