-- Findings: what is unusual, what became of it, and what people say about it.

-- A finding keeps its id while it goes on.
create table findings (
    organization_id text collate "C" not null references organizations,
    finding_id uuid not null,
    kind text not null,
    -- The id of the agent that it is about, or 'organization'.
    subject text not null,
    severity text not null check (severity in ('info', 'warning', 'critical')),
    -- The highest that was reported: it escalates beyond this only.
    highest_severity text not null check (highest_severity in ('info', 'warning', 'critical')),
    -- The window that it is about, half-open.
    begins_at timestamptz not null,
    ends_at timestamptz not null,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    -- Infinity while it goes on; never null, which only the index below must not know.
    ended_at timestamptz,
    -- Evaluations in a row without it.
    misses smallint not null,
    acknowledged_at timestamptz,
    -- The name of the agent that acknowledged it, or 'operator' if a command did.
    acknowledged_by text,
    note text check (char_length(note) <= 1000),
    -- The finding's JSON as last reported.
    report jsonb not null,
    -- The highest severity of which alerts were due since the finding last began, because no mute applied; null: nobody
    -- has been told of it.
    announced_severity text check (announced_severity in ('info', 'warning', 'critical')),
    primary key (organization_id, finding_id)
);
-- One range of it has what goes on and what ended lately. Partial, so that a statement about one finding is left no index
-- but the key: on an empty table the planner sees no difference.
create index findings_organization_id_ended_at_idx on findings (organization_id, ended_at) where ended_at is not null;

alter table findings enable row level security, force row level security;
create policy own_organization on findings
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update on findings to agentidp_service;

-- What happened to each finding.
create table finding_changes (
    organization_id text collate "C" not null,
    finding_id uuid not null,
    change_id uuid not null,
    changed_at timestamptz not null,
    change text not null,
    severity text not null,
    -- Who made the change, as in findings; null if an evaluation did.
    changed_by text,
    note text,
    primary key (organization_id, change_id),
    foreign key (organization_id, finding_id) references findings
);
create index finding_changes_organization_id_finding_id_changed_at_idx
    on finding_changes (organization_id, finding_id, changed_at);

alter table finding_changes enable row level security, force row level security;
create policy own_organization on finding_changes
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert on finding_changes to agentidp_service;

-- Of which findings nobody is to be alerted for a while.
create table finding_mutes (
    organization_id text collate "C" not null references organizations,
    kind text not null,
    -- As in findings; 'organization' mutes the kind for every agent.
    subject text not null,
    until timestamptz not null,
    muted_at timestamptz not null,
    muted_by text not null,
    note text check (char_length(note) <= 1000),
    primary key (organization_id, kind, subject)
);

alter table finding_mutes enable row level security, force row level security;
create policy own_organization on finding_mutes
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update, delete on finding_mutes to agentidp_service;

-- The last evaluation, one row for an organization. Who stores an evaluation locks it first.
create table finding_evaluations (
    organization_id text collate "C" primary key references organizations,
    -- Null until the first has been stored.
    evaluated_at timestamptz,
    -- What ended from this day on is known.
    first_day date not null,
    -- Kinds that ran out of time.
    not_computed text[] not null,
    -- How long it took, for the metrics. Null before the first.
    seconds double precision
);

alter table finding_evaluations enable row level security, force row level security;
create policy own_organization on finding_evaluations
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update on finding_evaluations to agentidp_service;

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
