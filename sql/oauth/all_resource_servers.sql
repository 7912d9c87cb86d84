-- Returns the identifiers that organizations must own so that tokens are issued for their resource servers. One row per resource
-- server, oldest first: resource: the audience_claim or else the identifier, as a resource_key(); organization_id.
--
-- for: operator
select resource_key(coalesce(audience_claim, resource)) as resource, organization_id
from resource_servers
order by created_at, organization_id
