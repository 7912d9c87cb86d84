-- Returns the organization that owns a resource identifier, in any spelling, or null. Row-level security hides the identifiers of
-- other organizations from the service, so the function runs with the rights of the operator, who owns the function.
create or replace function resource_organization(p_resource text) returns text
language sql stable security definer
set search_path = pg_catalog, public, pg_temp
as $$
    select organization_id from resource_identifiers where resource = resource_key(p_resource)
$$;
