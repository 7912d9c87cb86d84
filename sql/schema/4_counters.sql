-- What is counted: tokens, requests and rejected requests, exactly.

-- What an organization did on a UTC day, one row a slot: take_slot() says what a slot is. Twenty-four hours in an array,
-- because a reader of 90 days then fetches 90 rows and not 2,160, while counting one more costs the same.
--
-- What writes the arrays keeps their length. PostgreSQL parses the checks of a table anew for each update, which was a
-- fifth of what counting a request costs.
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
create policy own_organization on usage_daily
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update on usage_daily to agentidp_service;

-- The same by agent. The sums of both are always equal.
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
create policy own_organization on agent_usage_daily
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update on agent_usage_daily to agentidp_service;

-- Tokens by credential and resource.
--
-- A row per organization, UTC day, agent, credential, resource and slot. A token is counted here in the transaction that
-- counts it for the agent. What an agent has beyond the sum was imported: it is not attributed, and no row says so.
create table credential_usage_daily (
    organization_id text collate "C" not null,
    day date not null,
    agent_id uuid not null,
    credential_id uuid not null,
    -- As it was registered; empty for our own API. The text, because a resource server can be deleted and registered again
    -- while its tokens have the same audience.
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

-- Tokens by exchange, by the agent that acts and for whom. A row per organization, UTC day, agent, subject, resource and slot.
-- Such a token is counted here in the transaction that counts it for the agent. No person is named.
create table delegation_usage_daily (
    organization_id text collate "C" not null,
    day date not null,
    -- Who acts.
    agent_id uuid not null,
    -- For whom: an agent, or nil for whomever another issuer names.
    subject_agent_id uuid not null,
    -- That issuer; empty for an agent.
    issuer text collate "C" not null,
    -- As in credential_usage_daily.
    resource text collate "C" not null,
    slot smallint not null,
    tokens bigint not null,
    primary key (organization_id, day, agent_id, subject_agent_id, issuer, resource, slot)
) with (fillfactor = 50);
-- Who acts for an agent. Partial, so that nothing else is looked up by it.
create index delegation_usage_daily_organization_id_subject_agent_id_day_idx
    on delegation_usage_daily (organization_id, subject_agent_id, day) where issuer = '';

alter table delegation_usage_daily enable row level security, force row level security;
create policy own_organization on delegation_usage_daily
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update on delegation_usage_daily to agentidp_service;

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

-- What an agent's counters of a day hold, one row a UTC hour with usage. began_at is the hour, after RFC 3339.
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

-- Sums of the complete days of a month, so that nobody has to add up every day of every agent. They can be deleted at any
-- time: the counters of the days stay, and what reads the sums reads the days instead.
create table usage_monthly (
    organization_id text collate "C" not null references organizations,
    -- The first day of a UTC calendar month.
    month date not null check (extract(day from month) = 1),
    -- The month's days before this one are in the sums.
    summed_until date not null,
    -- Of all agents. As long as the organization's counters of these days have the same sum, so have those of each agent.
    tokens bigint not null,
    -- Agents with tokens, and how many each has, in the same order.
    agent_ids uuid[] not null,
    agent_tokens bigint[] not null check (cardinality(agent_tokens) = cardinality(agent_ids)),
    primary key (organization_id, month)
);

alter table usage_monthly enable row level security, force row level security;
create policy own_organization on usage_monthly
    using (organization_id = current_setting('agentidp.organization_id', true));
-- Only the operator's role, as which agentidp watch sums up, writes them.
grant select on usage_monthly to agentidp_service;

-- Files of past usage that an operator has imported. One that was imported once is not counted again.
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
create policy own_organization on usage_imports
    using (organization_id = current_setting('agentidp.organization_id', true));

-- Where failed authentications come from: address networks, not addresses, each kept for 30 days.
--
-- A row per organization, UTC day, agent, network and reason. Invented networks cannot fill the table: beyond a number of
-- rows a day, all further ones are counted in one row, whose network and reason are "other".
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
create policy own_organization on rejected_networks
    using (organization_id = current_setting('agentidp.organization_id', true));
grant select, insert, update, delete on rejected_networks to agentidp_service;
