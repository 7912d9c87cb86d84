-- The scopes of an organization's resource server whose tokens have an audience, or null if the organization has none or does
-- not hold what it must to get tokens with that audience. Runs in the transaction's view of the organization.
-- Parameters: p_organization_id; p_resource: the audience, which is the identifier if the resource server names no other.
create or replace function held_resource_scopes(
    p_organization_id text,
    p_resource text
) returns text[]
language plpgsql stable as $$
declare
    v_scopes text[] := (
        select scopes
        from resource_servers
        -- The first argument's collation, which is "C", would apply to this one, and the index has another.
        where organization_id = p_organization_id and resource = p_resource collate "default"
    );
    v_keys text[] := array[resource_key(p_resource collate "default")];
begin
    if v_scopes is null then
        -- Several may have the same audience, under identifiers of which the organization does not hold all.
        select min(scopes), array_agg(resource_key(coalesce(audience_claim, resource)))
        into v_scopes, v_keys
        from resource_servers
        where organization_id = p_organization_id and audience = p_resource collate "default";
    end if;
    -- Not joined: on Citus, a function's statement reads the organization's rows or a table that is on every node.
    if v_scopes is not null and exists (
        select 1
        from resource_identifiers
        where organization_id = p_organization_id and resource = any (v_keys)
    ) then
        return v_scopes;
    end if;
    return null;
end $$;
