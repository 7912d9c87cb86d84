-- Gives a resource identifier, in any spelling, to an organization, even if another one holds it, for the operator.
-- Returns one row: previous_organization_id, which held it before, or null.
-- Parameters: organization_id; resource; at (timestamptz).
with held as (
    select organization_id
    from resource_identifiers
    where resource = resource_key(%(resource)s::text)
)
insert into resource_identifiers (resource, organization_id, claimed_at)
values (resource_key(%(resource)s::text), %(organization_id)s, %(at)s::timestamptz)
on conflict (resource) do update
set
    organization_id = excluded.organization_id,
    claimed_at = excluded.claimed_at
returning (select organization_id from held) as previous_organization_id
