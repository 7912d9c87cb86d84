-- The role of the service's connections. The role owns nothing. Each file of this directory grants the role rights on the tables
-- in the file.
--
-- Every table with data of an organization has the organization in its primary key and forced row-level security: a transaction
-- sees only the rows of the organization in its setting agentidp.organization_id, and no row without the setting.
-- No policy has a sub-select, because Citus refuses such policies.

do $$
begin
    create role agentidp_service nologin nosuperuser nocreatedb nocreaterole nobypassrls;
exception
    -- All databases of a server share their roles, so another database may have created this role or be creating it now.
    when duplicate_object or unique_violation then null;
end $$;

do $$
begin
    -- A superuser may switch to any role without a grant. Since PostgreSQL 16, the creator of a role may grant the role but not
    -- switch to it, so the condition then tests for 'set'.
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
-- The applied migrations. agentidp/db/migrations.py creates this table and writes to it.
grant select on schema_migrations to agentidp_service;
