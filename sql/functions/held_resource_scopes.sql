-- Returns the scopes of the organization's resource server whose tokens have the audience p_resource, or null if there is none or
-- if the organization does not own the resource identifier that this audience requires. The transaction is already restricted to
-- the organization's rows.
-- Parameters: p_organization_id; p_resource: the audience, which is by default the resource server's identifier.
create or replace function held_resource_scopes(
    p_organization_id text,
    p_resource text
) returns text[]
language plpgsql stable as $$
declare
    v_scopes text[] := (
        select scopes
        from resource_servers
        -- The index serves only comparisons in the default collation. PostgreSQL would otherwise compare in "C", the collation of
        -- p_organization_id, because all parameters of a function get the same collation.
        where organization_id = p_organization_id and resource = p_resource collate "default"
    );
    v_keys text[] := array[resource_key(p_resource collate "default")];
begin
    if v_scopes is null then
        -- Several resource servers may share this audience, and the organization must own the identifier of one of them. The
        -- callers only compare the result with null, so the scopes of any resource server can be returned.
        select min(scopes), array_agg(resource_key(coalesce(audience_claim, resource)))
        into v_scopes, v_keys
        from resource_servers
        where organization_id = p_organization_id and audience = p_resource collate "default";
    end if;
    -- There are two statements instead of a join, because on Citus a statement in a function cannot read both the organization's
    -- rows and a table that is on every node.
    if v_scopes is not null and exists (
        select 1
        from resource_identifiers
        where organization_id = p_organization_id and resource = any (v_keys)
    ) then
        return v_scopes;
    end if;
    return null;
end $$;
