-- The delegation rules by which an agent may act. One row per rule, oldest first: delegation_rule_id, trust, and resources: for
-- which it may.
-- Parameters: organization_id; agent_id.
select
    delegation_rule_id,
    trust,
    array(select jsonb_array_elements(resources) ->> 'resource') as resources
from delegation_rules
where organization_id = %(organization_id)s and %(agent_id)s = any (agent_ids)
order by created_at, delegation_rule_id
