-- All resource identifiers that organizations hold, for the operator. One row per identifier as a resource_key(), in order.
-- Parameters: none.
--
-- for: operator
select resource, organization_id
from resource_identifiers
order by resource
