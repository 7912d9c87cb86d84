-- Erases the labels and the rules of trust of an agent's credentials, because labels and rules may name people. Returns one row
-- per credential.
-- Parameters: organization_id; agent_id.
--
-- for: operator
update credentials
set label = null, trust = case when trust is not null then '{}'::jsonb end
where organization_id = %(organization_id)s and agent_id = %(agent_id)s
returning credential_id
