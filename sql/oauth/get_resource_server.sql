-- Returns the row of a resource server of an organization, or no row if it does not exist. agent_name is the name of the agent
-- that runs the resource server, or null if no agent does or the agent is deleted.
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
