-- Deletes the announced suspensions of all agents except those in agent_ids. Returns no row.
-- Parameters: organization_id; agent_ids (uuid[]): the agents whose suspensions stay announced.
--
-- max-pages-read: 150, for a hundred announced suspensions
-- example: agent_ids={}
delete from announced_suspensions
where organization_id = %(organization_id)s and agent_id <> all (%(agent_ids)s::uuid[])
