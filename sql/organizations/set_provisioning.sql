-- Sets whether the provisioning rules of an organization create agents. Returns its row, or none if it does not exist.
-- Parameters: organization_id; provisions_agents (boolean).
--
-- example: provisions_agents=true
update organizations
set provisions_agents = %(provisions_agents)s::boolean
where organization_id = %(organization_id)s
returning {organization}
