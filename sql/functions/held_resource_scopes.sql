-- The scopes of an organization's resource server, or null if the organization has none with this resource or does not
-- hold its identifier. Runs in the transaction's view of the organization.
-- Parameters: p_organization_id; p_resource: as it was registered.
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
begin
    -- Not joined: on Citus, a function's statement reads the organization's rows or a table that is on every node.
    if v_scopes is not null and exists (
        select 1
        from resource_identifiers
        where organization_id = p_organization_id and resource = resource_key(p_resource collate "default")
    ) then
        return v_scopes;
    end if;
    return null;
end $$;
