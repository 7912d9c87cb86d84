-- Returns one row: scopes: of the parameter scopes, those that the resource server and each exchanged token for its resource have;
-- null if an exchange cannot be for this resource server.
-- Parameters: organization_id; resource; scopes (text[]); ancestors (jsonb): as in oauth/exchange_token.
--
-- example: ancestors=[]
select delegated_scopes(
    -- Citus runs the function on the worker with the organization's rows only if the argument has the collation "C", like the
    -- column organization_id.
    p_organization_id => %(organization_id)s::text collate "C", p_resource => %(resource)s::text, p_scopes => %(scopes)s::text[],
    p_max_scopes => null, p_ancestors => %(ancestors)s::jsonb
) as scopes
