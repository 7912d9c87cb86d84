-- Returns the delegation rules by which an app with a client ID metadata document may act. One row per rule, oldest first: trust,
-- resources. Parameters: organization_id; agent_id: the app's agent; client_host: the host in the document's URL.
--
-- example: client_host=app.example
select trust, resources
from delegation_rules
where
    organization_id = %(organization_id)s
    and (%(agent_id)s::uuid = any (agent_ids) or %(client_host)s::text = any (client_hosts))
order by created_at, delegation_rule_id
