-- A resource identifier, the `aud` of tokens, belongs to one organization of the instance.

-- What the spellings of an identifier have in common that resource servers may take for one (RFC 3986 section 6.2): it is
-- in lower case, without the default port and without closing slashes.
create function resource_key(resource text) returns text
    language sql immutable
    return rtrim(
        regexp_replace(
            lower(resource collate "C"), '^(http://[^/?]*):0*80(?=[/?]|$)|^(https://[^/?]*):0*443(?=[/?]|$)', '\1\2'
        ),
        '/'
    );

-- Which organization may get tokens for an identifier. A claim outlives the resource server that was registered with it:
-- whoever still trusts this issuer there must not come to trust another organization.
-- Instance-wide, like clients, and without a foreign key for the same reason: on Citus it is whole on every node.
create table resource_identifiers (
    -- A resource_key().
    resource text collate "C" primary key,
    organization_id text collate "C" not null,
    claimed_at timestamptz not null
);
create index resource_identifiers_organization_id_idx on resource_identifiers (organization_id);

alter table resource_identifiers enable row level security, force row level security;

create policy own_organization on resource_identifiers
    using (organization_id = current_setting('agentidp.organization_id', true));
-- The operator, who owns the tables, assigns identifiers by command line, and sees who has registered them.
create policy operator on resource_identifiers to current_user using (true);
create policy operator on resource_servers for select to current_user using (true);

-- The service claims, and cannot transfer or release.
grant select, insert on resource_identifiers to agentidp_service;

-- Nothing tells which of several organizations an identifier belongs to, so none of them gets it.
insert into resource_identifiers (resource, organization_id, claimed_at)
select resource_key(resource), min(organization_id), min(created_at)
from resource_servers
group by resource_key(resource)
having count(distinct organization_id) = 1;

do $$
declare
    duplicate record;
begin
    for duplicate in
        select resource_key(resource) as resource, string_agg(distinct organization_id, ', ') as organizations
        from resource_servers
        group by resource_key(resource)
        having count(distinct organization_id) > 1
        order by resource_key(resource)
    loop
        raise warning 'the resource identifier % is registered by several organizations (%): no token is issued for it '
            'until an operator assigns it (agentidp resource-server assign)',
            duplicate.resource, duplicate.organizations;
    end loop;
end $$;
