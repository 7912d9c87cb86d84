-- Makes an organization the owner of a resource identifier. Returns no row. A unique violation means that this or another
-- organization owns the identifier. There is no "on conflict do nothing", because Citus would then lock the reference table in a
-- mode that needs the right to update.
-- Parameters: organization_id; resource: the identifier in any spelling; at (timestamptz).
--
-- citus: no shard, because it writes a reference table
-- example: resource=https://new.example
insert into resource_identifiers (resource, organization_id, claimed_at)
values (resource_key(%(resource)s::text), %(organization_id)s, %(at)s::timestamptz)
