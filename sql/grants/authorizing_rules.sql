-- Returns the delegation rules by which an agent may act at a resource, oldest first. One row per rule: delegation_rule_id,
-- trust, grant_days, and scopes: the rule's scopes for the resource.
-- Parameters: organization_id; agent_id; client_host: the host of the agent's client ID metadata document, or null; resource.
--
-- example: client_host=null; resource=https://api.example
select
    delegation_rule_id, trust, grant_days,
    array(select jsonb_array_elements_text(allowed.value -> 'scopes')) as scopes
from delegation_rules
cross join lateral jsonb_array_elements(resources) as allowed
where
    organization_id = %(organization_id)s
    and (%(agent_id)s::uuid = any (agent_ids) or %(client_host)s::text = any (client_hosts))
    and allowed.value ->> 'resource' = %(resource)s
order by created_at, delegation_rule_id
