-- Returns the organization that owns a resource identifier, in any spelling, for the operator. Returns one row, or no row if no
-- organization owns the identifier. Parameters: resource.
--
-- for: operator
select organization_id
from resource_identifiers
where resource = resource_key(%(resource)s::text)
