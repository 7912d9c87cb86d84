-- Returns the scopes of an organization's resource servers, one row per scope, in order. Parameters: organization_id.
select distinct unnest(scopes) as scope
from resource_servers
where organization_id = %(organization_id)s
order by scope
