-- Lets the subject of an agent get another agent with its next token. Returns no row.
-- Parameters: organization_id; agent_id.
update agents
set provisioned_selector = null
where organization_id = %(organization_id)s and agent_id = %(agent_id)s
