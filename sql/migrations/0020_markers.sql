-- What people mark so that findings take it into account: deployments, and holidays.
create table markers (
    organization_id text collate "C" not null references organizations,
    marker_id uuid not null,
    kind text not null check (kind in ('deployment', 'holiday')),
    starts_at timestamptz not null,
    -- Of a deployment at an instant, the same.
    ends_at timestamptz not null check (ends_at >= starts_at),
    -- Null: every agent.
    agent_id uuid,
    note text,
    created_at timestamptz not null,
    primary key (organization_id, marker_id),
    foreign key (organization_id, agent_id) references agents
);
create index markers_organization_id_ends_at_idx on markers (organization_id, ends_at);
-- For the foreign key.
create index markers_organization_id_agent_id_idx on markers (organization_id, agent_id) where agent_id is not null;

alter table markers enable row level security, force row level security;
create policy own_organization on markers
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, delete on markers to agentidp_service;
