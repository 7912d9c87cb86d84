-- The exact counters of tokens, requests and rejected requests.

-- The counters of an organization. One row per UTC day and slot. Transactions use different slots, so they do not wait for each
-- other. The 24 hours are an array, so that a reader of 90 days fetches 90 rows instead of 2,160. Counting in an element of the
-- array takes as long as counting in a row per hour would take.
--
-- No check constrains the length of the arrays, because PostgreSQL parses the checks of a table again for each update, which took
-- a fifth of the time of counting a request. Every writer keeps the length.
create table usage_daily (
    organization_id text collate "C" not null,
    day date not null,
    slot smallint not null,
    tokens bigint not null,
    tokens_by_hour integer[] not null,
    requests_by_hour integer[] not null,
    rejected_by_hour integer[] not null,
    primary key (organization_id, day, slot)
) with (fillfactor = 50);
alter table usage_daily enable row level security, force row level security;
create policy own_organization on usage_daily using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update on usage_daily to agentidp_service;

-- The counters of an agent. One row per UTC day, agent and slot. The sums over all agents equal those of usage_daily.
create table agent_usage_daily (
    organization_id text collate "C" not null,
    day date not null,
    agent_id uuid not null,
    slot smallint not null,
    tokens bigint not null,
    requests bigint not null,
    rejected bigint not null,
    tokens_by_hour integer[] not null,
    requests_by_hour integer[] not null,
    rejected_by_hour integer[] not null,
    primary key (organization_id, day, agent_id, slot)
) with (fillfactor = 50);
alter table agent_usage_daily enable row level security, force row level security;
create policy own_organization on agent_usage_daily using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update on agent_usage_daily to agentidp_service;

-- Tokens by credential and resource. One row per organization, UTC day, agent, credential, resource and slot. The transaction
-- that counts a token in agent_usage_daily counts it in this table too. Imported tokens have no credential, so agent_usage_daily
-- may have more tokens of an agent than this table.
create table credential_usage_daily (
    organization_id text collate "C" not null,
    day date not null,
    agent_id uuid not null,
    credential_id uuid not null,
    -- The identifier as it was registered; empty for our own API. It is a text and not the resource server's id, because a
    -- resource server can be deleted and registered again with the same identifier.
    resource text collate "C" not null,
    slot smallint not null,
    tokens bigint not null,
    tokens_by_hour integer[] not null,
    primary key (organization_id, day, agent_id, credential_id, resource, slot)
) with (fillfactor = 50);
alter table credential_usage_daily enable row level security, force row level security;
create policy own_organization on credential_usage_daily
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update on credential_usage_daily to agentidp_service;

-- Tokens with which agents act for a subject. One row per organization, UTC day, acting agent, subject, issuer, resource and slot.
-- The transaction that counts a token in agent_usage_daily counts it in this table too. No row names a person.
create table delegation_usage_daily (
    organization_id text collate "C" not null,
    day date not null,
    -- The agent that acts for the subject.
    agent_id uuid not null,
    -- The agent for which agent_id acts, or nil_uuid() if agent_id acts for a subject of another issuer.
    subject_agent_id uuid not null,
    -- The other issuer; empty if the subject is an agent.
    issuer text collate "C" not null,
    -- The resource identifier, as in credential_usage_daily.
    resource text collate "C" not null,
    slot smallint not null,
    tokens bigint not null,
    primary key (organization_id, day, agent_id, subject_agent_id, issuer, resource, slot)
) with (fillfactor = 50);
-- This index finds the agents that act for an agent. It is partial, so that the planner does not use it for other statements.
create index delegation_usage_daily_organization_id_subject_agent_id_day_idx
    on delegation_usage_daily (organization_id, subject_agent_id, day) where issuer = '';
alter table delegation_usage_daily enable row level security, force row level security;
create policy own_organization on delegation_usage_daily
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update on delegation_usage_daily to agentidp_service;

-- Tokens that a quota has refused, and tokens that it would have refused if it were enforced. One row per organization, UTC day,
-- requesting agent, quota (its holder and its window) and slot. A refused token is counted for one quota.
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
create policy own_organization on quota_refusals_daily using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update on quota_refusals_daily to agentidp_service;

-- The usage of agents. One row per agent and UTC hour with usage. began_at is the beginning of the hour in the format of RFC
-- 3339.
create view agent_usage_by_hour with (security_invoker = true) as
select
    usage.organization_id,
    usage.day,
    to_char(usage.day + make_interval(hours => cell.ordinal::integer - 1), 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as began_at,
    usage.agent_id,
    sum(cell.tokens) as tokens,
    sum(cell.requests) as requests,
    sum(cell.rejected) as rejected
from agent_usage_daily as usage
cross join lateral unnest(usage.tokens_by_hour, usage.requests_by_hour, usage.rejected_by_hour)
    with ordinality as cell (tokens, requests, rejected, ordinal)
group by usage.organization_id, usage.day, cell.ordinal, usage.agent_id
having sum(cell.tokens) + sum(cell.requests) + sum(cell.rejected) > 0;

-- The sums of the complete days of a month, so that a reader need not add up every day of every agent. The sums can be deleted at
-- any time, because readers then use the daily counters.
create table usage_monthly (
    organization_id text collate "C" not null references organizations,
    -- The first day of a UTC calendar month.
    month date not null check (extract(day from month) = 1),
    -- The sums contain the days of the month before this day.
    summed_until date not null,
    -- The tokens of all agents. The stored sums are valid while usage_daily has the same number of tokens for the summed days,
    -- because counters only grow.
    tokens bigint not null,
    -- The agents with tokens, and in the same order the number of tokens of each agent.
    agent_ids uuid[] not null,
    agent_tokens bigint[] not null check (cardinality(agent_tokens) = cardinality(agent_ids)),
    primary key (organization_id, month)
);
alter table usage_monthly enable row level security, force row level security;
create policy own_organization on usage_monthly using (organization_id = current_setting('agentidp.organization_id', true));
-- Only agentidp watch writes the sums, as the operator's role.
grant select on usage_monthly to agentidp_service;

-- The files of past usage that an operator has imported. A file is imported only once.
create table usage_imports (
    organization_id text collate "C" not null references organizations,
    digest bytea not null check (octet_length(digest) = 32),
    imported_at timestamptz not null,
    records bigint not null,
    tokens bigint not null,
    requests bigint not null,
    rejected bigint not null,
    primary key (organization_id, digest)
);
alter table usage_imports enable row level security, force row level security;
create policy own_organization on usage_imports using (organization_id = current_setting('agentidp.organization_id', true));

-- The networks from which failed authentications come, kept for 30 days. Addresses are not stored. One row per organization, UTC
-- day, agent, network and reason. Beyond a maximum number of rows per day, further failures are counted in one row whose network
-- and reason are "other", so that a stranger cannot fill the table.
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
create policy own_organization on rejected_networks using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update, delete on rejected_networks to agentidp_service;
