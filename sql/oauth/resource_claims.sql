-- How many resource identifiers an organization holds, and whether this one, in any spelling, is among them.
-- Returns one row: count, is_held. Parameters: organization_id; resource.
--
-- citus: no shard, because it reads a reference table
-- example: resource=https://new.example
select count(*), count(*) filter (where resource = resource_key(%(resource)s::text)) > 0 as is_held
from resource_identifiers
where organization_id = %(organization_id)s
