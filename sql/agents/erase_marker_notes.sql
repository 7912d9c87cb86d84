-- Erases the notes of the markers of an agent's deployments. Returns no row. Parameters: organization_id; agent_id.
--
-- for: operator
update markers
set note = null
where organization_id = %(organization_id)s and agent_id = %(agent_id)s
