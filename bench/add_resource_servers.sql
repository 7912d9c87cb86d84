-- Registers two resource servers, so that an agent can exchange tokens of other agents for one server for tokens for the other.
-- Parameters: agent_id (the agent that exchanges tokens); target, tools (the identifiers of the resource servers).
with organization as (
    select organization_id from clients where client_id = %(agent_id)s
),
identifier as (
    insert into resource_identifiers (resource, organization_id, claimed_at)
    select resource, organization_id, now()
    from organization
    cross join unnest(array[%(target)s, %(tools)s]) as resource
)
insert into resource_servers (organization_id, resource_server_id, resource, name, scopes, created_at, agent_id)
select organization_id, gen_random_uuid(), resource, resource, array['analytics:read'], now(), agent_id
from organization
cross join (values (%(target)s, null), (%(tools)s, %(agent_id)s::uuid)) as server (resource, agent_id)
returning resource_server_id
