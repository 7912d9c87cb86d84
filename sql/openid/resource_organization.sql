-- Returns the organization that owns a resource identifier. One row: organization_id, or null if no organization owns it.
-- Parameters: resource: the identifier in any spelling.
--
-- citus: no shard, because every node has the whole table
-- example: resource=https://new.example
select resource_organization(%(resource)s::text) as organization_id
