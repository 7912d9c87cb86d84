-- Changes a resource server. Returns its row, or no row if it does not exist.
-- Parameters: organization_id; resource_server_id; name; scopes (text[]); token_per_call (boolean); audience and audience_claim:
-- as in oauth/add_resource_server; token_ttl and agent_id (or null); subject; at (timestamptz).
--
-- example: name=changed; scopes={}; token_per_call=true; token_ttl=300; subject=organization-agent; agent_id=null
update resource_servers
set
    name = %(name)s,
    scopes = %(scopes)s::text[],
    token_per_call = %(token_per_call)s,
    audience = %(audience)s,
    audience_claim = %(audience_claim)s,
    token_ttl = %(token_ttl)s::integer,
    token_ttl_changed_at = case
        when token_ttl is distinct from %(token_ttl)s::integer then %(at)s::timestamptz
        else token_ttl_changed_at
    end,
    subject = %(subject)s,
    agent_id = %(agent_id)s::uuid
where organization_id = %(organization_id)s and resource_server_id = %(resource_server_id)s
returning {resource_server}
