-- Returns the organization that holds a resource identifier, in any spelling. Returns one row: organization_id, or null.
-- Parameters: resource.
--
-- citus: no shard, because every node has the whole table
-- example: resource=https://new.example
select resource_organization(%(resource)s::text) as organization_id
