-- Findings, their changes, mutes and evaluations, and the deployments and holidays that people mark.

-- The findings of an organization. A finding keeps its id, even if it ends and begins again.
create table findings (
    organization_id text collate "C" not null references organizations,
    finding_id uuid not null,
    kind text not null,
    -- The id of the agent that the finding is about, or 'organization'.
    subject text not null,
    severity text not null check (severity in ('info', 'warning', 'critical')),
    -- The highest severity since the finding last became ongoing. Only a higher severity is an escalation.
    highest_severity text not null check (highest_severity in ('info', 'warning', 'critical')),
    -- The half-open period that the finding covers.
    begins_at timestamptz not null,
    ends_at timestamptz not null,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    -- Infinity for a finding that has not ended. The column is never null. A "not null" constraint would make the condition of the
    -- partial index below always true, and the planner would use the index even to look up one finding.
    ended_at timestamptz,
    -- The number of evaluations since an evaluation last returned the finding.
    misses smallint not null,
    acknowledged_at timestamptz,
    -- The name of the agent that acknowledged the finding, or 'operator' for a command.
    acknowledged_by text,
    note text check (char_length(note) <= 1000),
    -- The finding's JSON in the last report.
    report jsonb not null,
    -- The highest severity that alerts have announced since the finding last became ongoing. Null: none, because of a mute.
    announced_severity text check (announced_severity in ('info', 'warning', 'critical')),
    primary key (organization_id, finding_id)
);
-- A single range of this index has all ongoing findings (ended_at is infinity) and the findings that ended lately. The index is
-- partial, so that the planner uses only the primary key to look up one finding, even if the plan is made on an empty table.
create index findings_organization_id_ended_at_idx on findings (organization_id, ended_at) where ended_at is not null;
alter table findings enable row level security, force row level security;
create policy own_organization on findings using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update on findings to agentidp_service;

-- The changes of findings. One row per change.
create table finding_changes (
    organization_id text collate "C" not null,
    finding_id uuid not null,
    change_id uuid not null,
    changed_at timestamptz not null,
    change text not null,
    severity text not null,
    -- The name of the agent or person, or 'operator' for a command; null for a change by an evaluation.
    changed_by text,
    note text,
    primary key (organization_id, change_id),
    foreign key (organization_id, finding_id) references findings
);
create index finding_changes_organization_id_finding_id_changed_at_idx
    on finding_changes (organization_id, finding_id, changed_at);
alter table finding_changes enable row level security, force row level security;
create policy own_organization on finding_changes using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert on finding_changes to agentidp_service;

-- The mutes of findings. Before the instant in the column until, no alert is sent for findings of the kind and the subject. One
-- row per kind and subject.
create table finding_mutes (
    organization_id text collate "C" not null references organizations,
    kind text not null,
    -- The agent's id, or 'organization', which mutes the kind for every agent.
    subject text not null,
    until timestamptz not null,
    muted_at timestamptz not null,
    muted_by text not null,
    note text check (char_length(note) <= 1000),
    primary key (organization_id, kind, subject)
);
alter table finding_mutes enable row level security, force row level security;
create policy own_organization on finding_mutes using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update, delete on finding_mutes to agentidp_service;

-- The last evaluation. One row per organization. A transaction that stores an evaluation locks the row first.
create table finding_evaluations (
    organization_id text collate "C" primary key references organizations,
    -- The instant of the last evaluation. Null before the first evaluation.
    evaluated_at timestamptz,
    -- The first day of stored findings: findings that ended before this day are unknown.
    first_day date not null,
    -- The kinds of findings that the last evaluation left out, because it ran out of time.
    not_computed text[] not null,
    -- The duration of the evaluation, for the metrics. Null before the first evaluation.
    seconds double precision
);
alter table finding_evaluations enable row level security, force row level security;
create policy own_organization on finding_evaluations using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update on finding_evaluations to agentidp_service;

-- Deployments and holidays that people have marked so that findings take them into account.
create table markers (
    organization_id text collate "C" not null references organizations,
    marker_id uuid not null,
    kind text not null check (kind in ('deployment', 'holiday')),
    starts_at timestamptz not null,
    -- The end of the marker. Equal to starts_at for a deployment at an instant.
    ends_at timestamptz not null check (ends_at >= starts_at),
    -- The agent to which the marker applies. Null: every agent.
    agent_id uuid,
    note text,
    created_at timestamptz not null,
    primary key (organization_id, marker_id),
    foreign key (organization_id, agent_id) references agents
);
create index markers_organization_id_ends_at_idx on markers (organization_id, ends_at);
-- This index is for the foreign key: when an agent's row is deleted, PostgreSQL would otherwise read all markers.
create index markers_organization_id_agent_id_idx on markers (organization_id, agent_id) where agent_id is not null;
alter table markers enable row level security, force row level security;
create policy own_organization on markers using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, delete on markers to agentidp_service;
