-- Claims a resource identifier, in any spelling, for an organization. Returns no row. A unique violation says that an
-- organization holds it, whichever that is. Parameters: organization_id; resource; at (timestamptz).
-- Not "on conflict do nothing": on Citus, a reference table is locked for that as only who may change its rows may.
--
-- citus: no shard, because it writes a reference table
-- example: resource=https://new.example
insert into resource_identifiers (resource, organization_id, claimed_at)
values (resource_key(%(resource)s::text), %(organization_id)s, %(at)s::timestamptz)
