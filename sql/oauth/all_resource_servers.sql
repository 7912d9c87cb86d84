-- The resource servers of all organizations, for the operator. One row per resource server, with the resource_key() of its
-- identifier, oldest first. Parameters: none.
--
-- for: operator
select resource_key(resource) as resource, organization_id
from resource_servers
order by created_at, organization_id
