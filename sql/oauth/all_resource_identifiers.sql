-- Returns all resource identifiers that organizations own, one row per identifier as a resource_key(), in order.
--
-- for: operator
select resource, organization_id
from resource_identifiers
order by resource
