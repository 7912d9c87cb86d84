-- Releases a resource identifier, in any spelling, from the organization that owns it, for the operator. Returns one row:
-- organization_id: the former owner. Returns no row if no organization owned the identifier. Parameters: resource.
--
-- for: operator
delete from resource_identifiers
where resource = resource_key(%(resource)s::text)
returning organization_id
