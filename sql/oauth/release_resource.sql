-- Releases a resource identifier, in any spelling, from the organization that holds it, for the operator. Returns one row:
-- organization_id: the former holder. Returns no row if no organization held the identifier. Parameters: resource.
--
-- for: operator
delete from resource_identifiers
where resource = resource_key(%(resource)s::text)
returning organization_id
