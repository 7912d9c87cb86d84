-- The role as which the service's connections run. It owns nothing, and each file grants it what it needs of its tables.
--
-- Every table that holds something of an organization is keyed by it and under forced row-level security: a
-- transaction sees the organization in its setting agentidp.organization_id, and without the setting no row.
-- A policy has no sub-select, which Citus refuses.

do $$
begin
    create role agentidp_service nologin nosuperuser nocreatedb nocreaterole nobypassrls;
exception
    -- Roles belong to the whole cluster: another database may have made it, or be making it now.
    when duplicate_object or unique_violation then null;
end $$;

do $$
begin
    -- A superuser may set any role; granting it one would only leave a trace in the cluster. Anyone else must be
    -- told apart by version: since 16 whoever creates a role is a member of it that may grant but not set it.
    if not (select rolsuper from pg_roles where rolname = current_user)
        and not pg_has_role(
            current_user,
            'agentidp_service',
            case when current_setting('server_version_num')::integer < 160000 then 'member' else 'set' end
        ) then
        execute format('grant agentidp_service to %I', current_user);
    end if;
end $$;

grant usage on schema public to agentidp_service;
-- What was applied: agentidp/db/migrations.py makes it and writes to it.
grant select on schema_migrations to agentidp_service;
