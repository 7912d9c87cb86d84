-- The name and the scopes of a resource server can be changed; its identifier cannot.
grant update (name, scopes) on resource_servers to agentidp_service;
