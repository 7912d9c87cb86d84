-- Returns the maximum scopes of a token for a resource, one row per limit: holder, such as "the agent" or "the grant"; scopes.
-- Parameters: organization_id; agent_id: the client; resource: null for our own API; subject_agent_id and rule_id: the subject of an
-- exchange and the delegation rule for it, or null; grant_id: the grant that is redeemed, or null.
select 'the resource server' as holder, scopes
from resource_servers
where organization_id = %(organization_id)s and resource = %(resource)s::text
union all
select 'the agent' as holder, scopes
from agents
where organization_id = %(organization_id)s and agent_id = %(agent_id)s::uuid
union all
-- The subject has its own select, because one select for the two agent ids would read all agents if it was planned on an empty
-- table.
select 'the subject' as holder, scopes
from agents
where
    organization_id = %(organization_id)s and agent_id = %(subject_agent_id)s::uuid
    and %(subject_agent_id)s::uuid <> %(agent_id)s::uuid
union all
select 'the delegation rule' as holder, array(select jsonb_array_elements_text(allowed.value -> 'scopes')) as scopes
from delegation_rules, jsonb_array_elements(resources) as allowed
where
    organization_id = %(organization_id)s and delegation_rule_id = %(rule_id)s::uuid
    and allowed.value ->> 'resource' = %(resource)s::text
union all
select 'the grant' as holder, scopes
from grants
where organization_id = %(organization_id)s and grant_id = %(grant_id)s::uuid
