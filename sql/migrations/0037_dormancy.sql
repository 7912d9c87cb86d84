-- An organization can let its dormant agents be suspended.

-- After how many days; null: they are not.
alter table organizations add column suspend_dormant_after_days integer;
grant update (suspend_dormant_after_days) on organizations to agentidp_service;

-- The dormant agents that will be suspended, and when, as was announced. A table of its own: who authenticates reads the
-- agent's row, and this is no concern of theirs.
create table announced_suspensions (
    organization_id text collate "C" not null,
    agent_id uuid not null,
    suspends_at timestamptz not null,
    primary key (organization_id, agent_id),
    foreign key (organization_id, agent_id) references agents
);

alter table announced_suspensions enable row level security, force row level security;
create policy own_organization on announced_suspensions
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, delete on announced_suspensions to agentidp_service;
