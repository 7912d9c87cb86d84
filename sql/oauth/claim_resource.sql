-- Claims a resource identifier, in any spelling, for an organization. One row, or none if an organization holds it,
-- whichever that is. Parameters: organization_id; resource; at (timestamptz).
insert into resource_identifiers (resource, organization_id, claimed_at)
values (resource_key(%(resource)s::text), %(organization_id)s, %(at)s::timestamptz)
on conflict (resource) do nothing
returning resource
