-- Erases the name, the description and the owner of a deleted agent, and for whom it was created. One row if it is deleted, and otherwise none.
-- Parameters: organization_id; agent_id.
--
-- for: operator
update agents
set name = 'erased', description = '', owner = '', provisioned = null
where organization_id = %(organization_id)s and agent_id = %(agent_id)s and deleted_at is not null
returning agent_id
