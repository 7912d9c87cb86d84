-- Which credential an agent's tokens were issued to, and for which resource.

-- A row per organization, UTC day, agent, credential, resource and slot. A token is counted here in the transaction that
-- counts it for the agent. What an agent has beyond the sum was counted before this table existed, or imported: it is not
-- attributed, and no row says so.
create table credential_usage_daily (
    organization_id text collate "C" not null,
    day date not null,
    agent_id uuid not null,
    credential_id uuid not null,
    -- As it was registered; empty for our own API. The text, because a resource server can be deleted and registered again
    -- while its tokens have the same audience.
    resource text collate "C" not null,
    slot smallint not null,
    tokens bigint not null,
    tokens_by_hour integer[] not null,
    primary key (organization_id, day, agent_id, credential_id, resource, slot)
) with (fillfactor = 50);

alter table credential_usage_daily enable row level security, force row level security;
create policy own_organization on credential_usage_daily
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update on credential_usage_daily to agentidp_service;
