-- Deletes the announced suspension of an agent, because the agent has changed. Returns no row.
-- Parameters: organization_id; agent_id.
delete from announced_suspensions
where organization_id = %(organization_id)s and agent_id = %(agent_id)s::uuid
