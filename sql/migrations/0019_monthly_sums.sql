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
