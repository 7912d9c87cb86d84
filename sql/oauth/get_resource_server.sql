-- Returns one resource server of an organization, with agent_name: the name of the agent that runs it, null if there is none or
-- it is deleted. Returns one row, or no row if the resource server does not exist.
-- Parameters: organization_id; resource_server_id.
select
    {resource_server},
    (
        select agents.name
        from agents
        where
            agents.organization_id = %(organization_id)s
            and agents.agent_id = resource_servers.agent_id
            and is_not_deleted(agents.deleted_at)
    ) as agent_name
from resource_servers
where organization_id = %(organization_id)s and resource_server_id = %(resource_server_id)s
