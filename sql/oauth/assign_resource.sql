-- Makes an organization the owner of a resource identifier, even if another organization owns it. Returns no row.
-- Parameters: organization_id; resource: the identifier in any spelling; at (timestamptz).
--
-- for: operator
insert into resource_identifiers (resource, organization_id, claimed_at)
values (resource_key(%(resource)s::text), %(organization_id)s, %(at)s::timestamptz)
on conflict (resource) do update
set
    organization_id = excluded.organization_id,
    claimed_at = excluded.claimed_at
