-- Releases a resource identifier, in any spelling, from the organization that holds it, for the operator. One row:
-- organization_id: the former holder. No row if no organization held the identifier. Parameters: resource.
--
-- for: operator
delete from resource_identifiers
where resource = resource_key(%(resource)s::text)
returning organization_id
