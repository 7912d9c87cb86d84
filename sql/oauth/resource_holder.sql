-- The organization that holds a resource identifier, in any spelling, for the operator. One row, or no row if no organization
-- holds it.
-- Parameters: resource.
--
-- for: operator
select organization_id
from resource_identifiers
where resource = resource_key(%(resource)s::text)
