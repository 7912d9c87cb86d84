-- Changes a resource server; null leaves a column as it is. Returns its row, or none if it does not exist.
-- Parameters: organization_id; resource_server_id; name; scopes (text[]); token_per_call (boolean); audience and
-- audience_claim, which only change together: an empty one removes it; token_ttl: 0 removes it; subject; at (timestamptz).
--
-- example: token_ttl=300; subject=organization-agent
update resource_servers
set
    name = coalesce(%(name)s::text, name),
    scopes = coalesce(%(scopes)s::text[], scopes),
    token_per_call = coalesce(%(token_per_call)s::boolean, token_per_call),
    audience = nullif(coalesce(%(audience)s::text, audience), ''),
    audience_claim = case when %(audience)s::text is null then audience_claim else %(audience_claim)s::text end,
    token_ttl = nullif(coalesce(%(token_ttl)s::integer, token_ttl), 0),
    token_ttl_changed_at = case
        when coalesce(%(token_ttl)s::integer, token_ttl, 0) <> coalesce(token_ttl, 0) then %(at)s::timestamptz
        else token_ttl_changed_at
    end,
    subject = coalesce(%(subject)s::text, subject)
where
    organization_id = %(organization_id)s
    and resource_server_id = %(resource_server_id)s
returning {resource_server}
