-- Returns one row: count: the number of resource identifiers that an organization owns; is_held: whether the organization owns this
-- identifier. Parameters: organization_id; resource: the identifier in any spelling.
--
-- citus: no shard, because it reads a reference table
-- example: resource=https://new.example
select count(*), count(*) filter (where resource = resource_key(%(resource)s::text)) > 0 as is_held
from resource_identifiers
where organization_id = %(organization_id)s
