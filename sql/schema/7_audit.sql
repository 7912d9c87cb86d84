-- The audit trail: who changed what. Each organization has a chain of events, in which each contains the hash of the one
-- before. The instance itself, with its signing keys, has one as well.
--
-- No foreign key to organizations: a trail outlives its organization, and the instance's belongs to none.

-- The last event of each chain. Its row is locked while an event is added, so that a chain does not fork; and it shows
-- that the last events were removed.
create table audit_heads (
    organization_id text collate "C" primary key,
    sequence bigint not null check (sequence >= 0),
    hash bytea not null check (octet_length(hash) = 32)
);

alter table audit_heads enable row level security, force row level security;
create policy own_organization on audit_heads
    using (organization_id = current_setting('agentidp.organization_id', true));
-- The operator, who owns the tables, exports and verifies all chains by command line.
create policy operator on audit_heads for select to current_user using (true);
grant select, insert, update on audit_heads to agentidp_service;

create table audit_events (
    organization_id text collate "C" not null,
    -- Counts up from 1 without a gap.
    sequence bigint not null check (sequence > 0),
    event_id uuid not null,
    at timestamptz not null,
    actor_type text not null,
    actor text not null,
    action text not null,
    subject_type text not null,
    subject text not null,
    -- What changed. The chain contains only content_hash, so that these three can be erased and the chain still be
    -- verified; the salt is random, so that nobody finds out by trying what was erased.
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
-- The few events that may explain a finding, however many others there are: anybody can cause some.
create index audit_events_organization_id_sequence_idx on audit_events (organization_id, sequence)
where action in ('agent.changed', 'credential.created', 'credential.revoked');

alter table audit_events enable row level security, force row level security;
create policy own_organization on audit_events
    using (organization_id = current_setting('agentidp.organization_id', true));
-- The service adds events and never changes or removes one.
grant select, insert on audit_events to agentidp_service;
