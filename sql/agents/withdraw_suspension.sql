-- Deletes what was announced of the suspension of an agent, which has changed. Returns no row.
-- Parameters: organization_id; agent_id.
delete from announced_suspensions
where organization_id = %(organization_id)s and agent_id = %(agent_id)s::uuid
