-- Erases the labels of an agent's credentials. One row for each credential.
-- Parameters: organization_id; agent_id.
--
-- for: operator
update credentials
set label = null
where organization_id = %(organization_id)s and agent_id = %(agent_id)s
returning credential_id
