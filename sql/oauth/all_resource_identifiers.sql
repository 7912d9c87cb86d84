-- All resource identifiers that an organization holds, for the operator. One row per identifier, by its resource_key(), in
-- order. Parameters: none.
--
-- for: operator
select resource, organization_id
from resource_identifiers
order by resource
