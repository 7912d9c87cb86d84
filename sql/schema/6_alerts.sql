-- The alert targets of organizations, and the outbox with all deliveries to them.

create table alert_targets (
    organization_id text collate "C" not null references organizations,
    target_id uuid not null,
    name text not null,
    type text not null check (type in ('webhook', 'alertmanager', 'apprise')),
    -- The part of the address that is not secret.
    destination text not null,
    -- The address, and the key of a webhook, encrypted with the instance secret; the target's id is the associated data.
    sealed bytea not null,
    -- The kinds of findings that the target receives. Null: every kind.
    kinds text[],
    -- The owners whose agents' findings the target receives. Null: the findings of all agents and of the organization.
    owners text[],
    minimum_severity text not null check (minimum_severity in ('info', 'warning', 'critical')),
    enabled boolean not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    tested_at timestamptz,
    last_success_at timestamptz,
    last_failure_at timestamptz,
    -- The instant of the first failed delivery since the last successful delivery.
    failing_since timestamptz,
    last_error text,
    -- The number of failed deliveries since the last successful delivery.
    failures integer not null default 0,
    -- The instant until which no delivery is attempted. The pause grows with each failure. Minus infinity: no pause.
    paused_until timestamptz not null default '-infinity',
    -- The end of the lease: until this instant, only one process may send to the target. Minus infinity: there was no lease yet.
    leased_until timestamptz not null default '-infinity',
    primary key (organization_id, target_id)
);
alter table alert_targets enable row level security, force row level security;
create policy own_organization on alert_targets using (organization_id = current_setting('agentidp.organization_id', true));
-- The operator, who owns the tables, re-encrypts addresses.
create policy operator on alert_targets to current_user using (true);
grant select, insert, update, delete on alert_targets to agentidp_service;

create table alert_deliveries (
    organization_id text collate "C" not null,
    -- The idempotency key that the receiver gets.
    delivery_id uuid not null,
    target_id uuid not null,
    finding_id uuid not null,
    change text not null check (change in ('opened', 'escalated', 'resolved', 'test')),
    payload jsonb not null,
    created_at timestamptz not null,
    attempts integer not null default 0,
    next_attempt_at timestamptz not null,
    delivered_at timestamptz,
    -- The instant of the last attempt, after whose failure the delivery was given up. Null: not given up.
    abandoned_at timestamptz,
    last_error text,
    primary key (organization_id, delivery_id),
    foreign key (organization_id, target_id) references alert_targets on delete cascade
);
create index alert_deliveries_next_attempt_at_idx on alert_deliveries (next_attempt_at)
    where delivered_at is null and abandoned_at is null;
create index alert_deliveries_organization_id_target_id_next_attempt_at_idx
    on alert_deliveries (organization_id, target_id, next_attempt_at)
    where delivered_at is null and abandoned_at is null;
-- This index finds a finding's undelivered changes, because each change of a finding waits until the earlier changes of this
-- finding are delivered.
create index alert_deliveries_organization_id_target_id_finding_id_idx
    on alert_deliveries (organization_id, target_id, finding_id, created_at)
    where delivered_at is null and abandoned_at is null;
-- This index finds the newest deliveries of a target. The foreign key uses it when a target is deleted.
create index alert_deliveries_organization_id_target_id_created_at_idx
    on alert_deliveries (organization_id, target_id, created_at);
create index alert_deliveries_organization_id_created_at_idx on alert_deliveries (organization_id, created_at);
-- This index finds the targets that have received the beginning of a finding, because they must also receive its end.
create index alert_deliveries_organization_id_finding_id_created_at_idx
    on alert_deliveries (organization_id, finding_id, created_at);
alter table alert_deliveries enable row level security, force row level security;
create policy own_organization on alert_deliveries using (organization_id = current_setting('agentidp.organization_id', true));
-- The operator, who owns the tables, looks for due deliveries of all organizations.
create policy operator on alert_deliveries to current_user using (true);
grant select, insert, update, delete on alert_deliveries to agentidp_service;
