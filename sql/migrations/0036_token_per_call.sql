-- A resource server can say that its tokens are for one call each.

-- Whether that is so. Findings then do not expect agents to keep its tokens.
alter table resource_servers add column token_per_call boolean not null default false;
grant update (token_per_call) on resource_servers to agentidp_service;
