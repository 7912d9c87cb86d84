-- Releases a resource identifier from the organization that owns it. Returns one row: organization_id: the former owner; or no row
-- if no organization owned the identifier.
-- Parameters: resource: the identifier in any spelling.
--
-- for: operator
delete from resource_identifiers
where resource = resource_key(%(resource)s::text)
returning organization_id
