-- Erases a deleted agent's name, description and owner, and the subject for which a provisioning rule has created the agent.
-- Returns no row if the agent is not deleted.
-- Parameters: organization_id; agent_id.
--
-- for: operator
update agents
set name = 'erased', description = '', owner = '', provisioned = null
where organization_id = %(organization_id)s and agent_id = %(agent_id)s and deleted_at is not null
returning agent_id
