-- Returns the tables that have a column organization_id, but not both forced row-level security and the policy own_organization.
-- One row per table.
select relname::text as name
from pg_class as tables
where
    relnamespace = 'public'::regnamespace
    and relkind in ('r', 'p')
    and exists (select from pg_attribute where attrelid = tables.oid and attname = 'organization_id' and not attisdropped)
    and not (
        relrowsecurity
        and relforcerowsecurity
        and exists (select from pg_policy where polrelid = tables.oid and polname = 'own_organization')
    )
order by relname
