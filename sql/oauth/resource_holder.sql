-- The organization that holds a resource identifier, in any spelling: one row, or none if nobody does. For the operator.
-- Parameters: resource.
--
-- for: operator
select organization_id
from resource_identifiers
where resource = resource_key(%(resource)s::text)
