-- Where failed authentications come from: address networks, not addresses, each kept for 30 days.
--
-- A row per organization, UTC day, agent, network and reason. Invented networks cannot fill the table: beyond a number of
-- rows a day, all further ones are counted in one row, whose network and reason are "other".
create table rejected_networks (
    organization_id text collate "C" not null,
    day date not null,
    agent_id uuid not null,
    network text collate "C" not null check (length(network) <= 50),
    reason text collate "C" not null check (length(reason) <= 50),
    rejections bigint not null,
    primary key (organization_id, day, agent_id, network, reason)
) with (fillfactor = 50);

alter table rejected_networks enable row level security, force row level security;
create policy own_organization on rejected_networks
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update, delete on rejected_networks to agentidp_service;

-- For a failure whose secret was revoked.
create index credentials_organization_id_agent_id_revoked_idx on credentials (organization_id, agent_id, secret_hash)
    where revoked_at is not null;
