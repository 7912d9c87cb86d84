-- Findings get identity and state: each keeps its id while it goes on, and what happened to it is kept.

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
    primary key (organization_id, finding_id)
);
-- One range of it has what goes on and what ended lately. Partial, so that a statement about one finding is left no index
-- but the key: on an empty table the planner sees no difference.
create index findings_organization_id_ended_at_idx on findings (organization_id, ended_at) where ended_at is not null;

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

-- One row for an organization. Who stores an evaluation locks it first.
create table finding_evaluations (
    organization_id text collate "C" primary key references organizations,
    -- Null until the first has been stored.
    evaluated_at timestamptz,
    -- What ended from this day on is known.
    first_day date not null,
    -- Kinds that ran out of time.
    not_computed text[] not null
);

alter table findings enable row level security, force row level security;
alter table finding_changes enable row level security, force row level security;
alter table finding_mutes enable row level security, force row level security;
alter table finding_evaluations enable row level security, force row level security;

create policy own_organization on findings
    using (organization_id = current_setting('agentidp.organization_id', true));
create policy own_organization on finding_changes
    using (organization_id = current_setting('agentidp.organization_id', true));
create policy own_organization on finding_mutes
    using (organization_id = current_setting('agentidp.organization_id', true));
create policy own_organization on finding_evaluations
    using (organization_id = current_setting('agentidp.organization_id', true));

grant select, insert, update on findings, finding_evaluations to agentidp_service;
grant select, insert on finding_changes to agentidp_service;
grant select, insert, update, delete on finding_mutes to agentidp_service;
