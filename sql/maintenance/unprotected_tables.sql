-- Returns the tables with an organization_id that lack forced row-level security or our policy for it, one row per table.
select relname::text as name
from pg_class as found
where
    relnamespace = 'public'::regnamespace
    and relkind in ('r', 'p')
    and exists (select from pg_attribute where attrelid = found.oid and attname = 'organization_id' and not attisdropped)
    and not (
        relrowsecurity
        and relforcerowsecurity
        and exists (select from pg_policy where polrelid = found.oid and polname = 'own_organization')
    )
order by relname
