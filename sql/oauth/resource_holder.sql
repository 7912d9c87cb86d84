-- Returns one row: organization_id: the owner of a resource identifier; or no row if no organization owns the identifier.
-- Parameters: resource: the identifier in any spelling.
--
-- for: operator
select organization_id
from resource_identifiers
where resource = resource_key(%(resource)s::text)
