-- Assigns a resource identifier, in any spelling, to an organization, even if another organization holds the identifier, for the
-- operator. Returns no row. Parameters: organization_id; resource; at (timestamptz).
--
-- for: operator
insert into resource_identifiers (resource, organization_id, claimed_at)
values (resource_key(%(resource)s::text), %(organization_id)s, %(at)s::timestamptz)
on conflict (resource) do update
set
    organization_id = excluded.organization_id,
    claimed_at = excluded.claimed_at
