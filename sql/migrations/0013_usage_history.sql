-- Past usage that was imported from elsewhere.

-- A file that was imported once is not counted again.
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

-- Counts of 24 hours, added hour by hour.
create function add_by_hour(counts integer[], added integer[]) returns integer[]
    language sql immutable
    return array(
        select both_counts.a + both_counts.b
        from unnest(counts, added) with ordinality as both_counts (a, b, ordinal)
        order by both_counts.ordinal
    );

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
