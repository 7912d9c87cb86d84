-- Quotas: tokens that an agent or an organization may get in a UTC hour, day or month, decided in the transaction that
-- issues the token.

-- One row a quota. agent_id is nil for a quota of the organization.
create table quotas (
    organization_id text collate "C" not null references organizations,
    agent_id uuid not null,
    quota_window text collate "C" not null check (quota_window in ('hour', 'day', 'month')),
    tokens bigint not null check (tokens > 0),
    -- Otherwise it only counts what it would have refused.
    is_enforced boolean not null,
    -- Of a quota a month: the tokens on all days of the month of other_days_of but that day. Null: not summed yet.
    other_days_of date,
    other_days bigint,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (organization_id, agent_id, quota_window)
);

alter table quotas enable row level security, force row level security;
create policy own_organization on quotas
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update, delete on quotas to agentidp_service;

-- So that a token without a quota reads nothing further. Changed with the rows of quotas, in the same transaction.
alter table agents add column has_quota boolean not null default false;
alter table organizations add column has_quota boolean not null default false;
grant update (has_quota) on organizations to agentidp_service;

-- Tokens that a quota has refused, and those that it would have refused if it were enforced. A row per organization, UTC day,
-- agent that asked, quota (whose it is and of which window) and slot. A token is counted for one quota.
create table quota_refusals_daily (
    organization_id text collate "C" not null,
    day date not null,
    agent_id uuid not null,
    holder text collate "C" not null check (holder in ('agent', 'organization')),
    quota_window text collate "C" not null,
    slot smallint not null,
    refused_by_hour integer[] not null,
    observed_by_hour integer[] not null,
    primary key (organization_id, day, agent_id, holder, quota_window, slot)
) with (fillfactor = 50);

alter table quota_refusals_daily enable row level security, force row level security;
create policy own_organization on quota_refusals_daily
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update on quota_refusals_daily to agentidp_service;
