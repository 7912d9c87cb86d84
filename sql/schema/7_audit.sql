-- The audit trail of all changes. Each organization has a chain of events, in which each event contains the hash of the previous
-- event. The instance has a chain too, for events such as changes of signing keys.
--
-- The tables have no foreign key to organizations, because a chain outlives its organization, and the instance is no organization.

-- The last event of each chain. A transaction that adds an event locks this row, so that no two events have the same predecessor.
-- If the last events of a chain are removed, this row proves the removal.
create table audit_heads (
    organization_id text collate "C" primary key,
    sequence bigint not null check (sequence >= 0),
    hash bytea not null check (octet_length(hash) = 32)
);
alter table audit_heads enable row level security, force row level security;
create policy own_organization on audit_heads using (organization_id = current_setting('agentidp.organization_id', true));
-- The operator, who owns the tables, exports and verifies all chains by command line.
create policy operator on audit_heads for select to current_user using (true);
grant select, insert, update on audit_heads to agentidp_service;

create table audit_events (
    organization_id text collate "C" not null,
    -- The number of the event in the chain, from 1 without a gap.
    sequence bigint not null check (sequence > 0),
    event_id uuid not null,
    at timestamptz not null,
    actor_type text not null,
    actor text not null,
    action text not null,
    subject_type text not null,
    subject text not null,
    -- The values before and after the change. The chain contains only content_hash, so it can still be verified after the columns
    -- "before", "after" and "salt" are erased. The random salt keeps anybody from guessing erased content.
    before jsonb,
    after jsonb,
    salt bytea,
    content_hash bytea not null check (octet_length(content_hash) = 32),
    client_address text,
    request_id text,
    previous_hash bytea not null check (octet_length(previous_hash) = 32),
    hash bytea not null check (octet_length(hash) = 32),
    primary key (organization_id, sequence)
);
-- This index has only the events that may explain a finding. Other events would slow down the search, because clients can cause
-- any number of them.
create index audit_events_organization_id_sequence_idx on audit_events (organization_id, sequence)
where action in ('agent.changed', 'credential.created', 'credential.revoked');
alter table audit_events enable row level security, force row level security;
create policy own_organization on audit_events using (organization_id = current_setting('agentidp.organization_id', true));
-- The service adds events and never changes or removes an event.
grant select, insert on audit_events to agentidp_service;
