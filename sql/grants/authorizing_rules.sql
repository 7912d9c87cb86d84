-- Returns the delegation rules by which an agent may act for people, one row per rule, oldest first: delegation_rule_id, trust,
-- grant_days, resources. Parameters: organization_id; agent_id; client_host: the host of the agent's client ID metadata document, or
-- null.
--
-- example: client_host=app.example
select delegation_rule_id, trust, grant_days, resources
from delegation_rules
where
    organization_id = %(organization_id)s
    and (%(agent_id)s::uuid = any (agent_ids) or %(client_host)s::text = any (client_hosts))
order by created_at, delegation_rule_id
