-- Forgets the subject of an agent, so that a provisioning rule creates another agent at the subject's next token. Returns no row.
-- Parameters: organization_id; agent_id.
update agents
set provisioned_selector = null
where organization_id = %(organization_id)s and agent_id = %(agent_id)s
