-- What the resource servers of all organizations need to be held so that tokens are issued for them, for the operator: the
-- identifier of each, or what stands for its audience. One row each, as a resource_key(), oldest first. Parameters: none.
--
-- for: operator
select resource_key(coalesce(audience_claim, resource)) as resource, organization_id
from resource_servers
order by created_at, organization_id
