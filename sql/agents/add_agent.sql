-- Registers an active agent, which is an OAuth client too. Returns the agent's row.
-- Parameters: organization_id; agent_id; name; description; owner; scopes (text[]); dpop_bound_access_tokens; expected_replicas
-- (or null); redirect_uris (text[]); provisioned (JSON text) and provisioned_selector: both null unless a provisioning rule
-- creates the agent; client_uri (or null); at (timestamptz).
--
-- example: agent_id=0a1b2c3d-0000-4000-8000-000000000001; name=new; provisioned=null; provisioned_selector=null; client_uri=null
with client as (
    insert into clients (client_id, organization_id)
    values (%(agent_id)s, %(organization_id)s)
)
insert into agents (
    organization_id, agent_id, name, description, owner, scopes, status, dpop_bound_access_tokens, expected_replicas,
    redirect_uris, provisioned, provisioned_selector, client_uri, created_at, updated_at
)
values (
    %(organization_id)s, %(agent_id)s, %(name)s, %(description)s, %(owner)s, %(scopes)s::text[], 'active',
    %(dpop_bound_access_tokens)s, %(expected_replicas)s, %(redirect_uris)s::text[], %(provisioned)s::jsonb,
    %(provisioned_selector)s::bytea, %(client_uri)s::text, %(at)s, %(at)s
)
returning {agent}
