-- Erases the name, the description, the owner and the subject of a deleted agent. Returns no row if the agent is not
-- deleted.
-- Parameters: organization_id; agent_id.
--
-- for: operator
update agents
set name = 'erased', description = '', owner = '', provisioned = null
where organization_id = %(organization_id)s and agent_id = %(agent_id)s and deleted_at is not null
returning agent_id
