-- The organizations that have no chain and must have one, because they were created when there was an audit trail, for the
-- operator. One row per organization: organization_id.
-- Parameters: first_migration: the first one of those that have made the audit trail.
--
-- for: operator
select organization_id
from organizations
where not exists (select from audit_heads where audit_heads.organization_id = organizations.organization_id)
    and created_at > (
        select min(applied_at)
        from schema_migrations
        where name >= %(first_migration)s and not starts_with(name, 'functions_')
    )
order by organization_id
