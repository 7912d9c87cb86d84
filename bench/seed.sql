-- Small organizations and a large one, each with days of usage up to today (UTC), every hour counted.
-- The daily rows of an organization and those of its agents come from the same figures, so that their sums agree.
-- Only the large organization's agents have credentials, a secret each, by which all their tokens are attributed; the first
-- and the last have a key as well.
-- Parameters: large (its organization_id); secret_hashes (bytea[], one for each of its agents); jwks and trust (JSON text);
-- others (how many small organizations); agents_each (agents of each of them); days; times (by which all tokens are
-- multiplied).
with organization as (
    insert into organizations (organization_id, name, created_at)
    select organization_id, 'Organization ' || number, now() - interval '90 days'
    from (
        select %(large)s::text as organization_id, 0 as number
        union all
        select 'org-' || gen_random_uuid(), number
        from generate_series(1, %(others)s) as number
    ) as planned
    returning organization_id
),
planned as materialized (
    select
        organization_id,
        gen_random_uuid() as agent_id,
        number
    from organization
    cross join lateral generate_series(
        1, case when organization_id = %(large)s then cardinality(%(secret_hashes)s::bytea[]) else %(agents_each)s end
    ) as number
),
agent as (
    insert into agents
        (organization_id, agent_id, name, description, scopes, status, created_at, updated_at)
    select
        organization_id, agent_id, 'agent-' || number, '', array['analytics:read', 'agents:read'], 'active',
        now() - interval '90 days', now() - interval '90 days'
    from planned
),
client as (
    insert into clients (client_id, organization_id)
    select agent_id, organization_id from planned
),
credential as (
    insert into credentials (organization_id, agent_id, credential_id, secret_hash, created_at)
    select organization_id, agent_id, gen_random_uuid(), (%(secret_hashes)s::bytea[])[number], now()
    from planned
    where organization_id = %(large)s
    returning organization_id, agent_id, credential_id
),
key_credential as (
    insert into credentials (organization_id, agent_id, credential_id, jwks, created_at)
    select organization_id, agent_id, gen_random_uuid(), %(jwks)s::jsonb, now()
    from planned
    where organization_id = %(large)s and number in (1, cardinality(%(secret_hashes)s::bytea[]))
),
rule as (
    insert into credentials (organization_id, agent_id, credential_id, trust_selector, trust, created_at)
    select organization_id, agent_id, gen_random_uuid(), gen_random_uuid(), %(trust)s::jsonb, now()
    from planned
    where organization_id = %(large)s and number = 1
),
hourly as materialized (
    select
        planned.organization_id,
        (now() at time zone 'UTC')::date - ago as day,
        planned.agent_id,
        hour,
        (planned.number + ago + hour) %% 7 * %(times)s::bigint as tokens,
        (planned.number + ago + hour) %% 7 * 3 * %(times)s::bigint + 1 as requests
    from planned
    cross join generate_series(0, %(days)s - 1) as ago
    cross join generate_series(0, 23) as hour
),
organization_usage as (
    insert into usage_daily (organization_id, day, slot, tokens, tokens_by_hour, requests_by_hour, rejected_by_hour)
    select
        organization_id, day, 0, sum(tokens), array_agg(tokens order by hour), array_agg(requests order by hour),
        count_nothing()
    from (
        select organization_id, day, hour, sum(tokens) as tokens, sum(requests) as requests
        from hourly
        group by organization_id, day, hour
    ) as by_hour
    group by organization_id, day
),
credential_usage as (
    insert into credential_usage_daily
        (organization_id, day, agent_id, credential_id, resource, slot, tokens, tokens_by_hour)
    select
        hourly.organization_id, hourly.day, hourly.agent_id, credential.credential_id, '', 0, sum(hourly.tokens),
        array_agg(hourly.tokens order by hourly.hour)
    from hourly
    join credential on credential.organization_id = hourly.organization_id and credential.agent_id = hourly.agent_id
    group by hourly.organization_id, hourly.day, hourly.agent_id, credential.credential_id
),
agent_usage as (
    insert into agent_usage_daily
        (
            organization_id, day, agent_id, slot, tokens, requests, rejected,
            tokens_by_hour, requests_by_hour, rejected_by_hour
        )
    select
        organization_id, day, agent_id, 0, sum(tokens), sum(requests), 0,
        array_agg(tokens order by hour), array_agg(requests order by hour), count_nothing()
    from hourly
    group by organization_id, day, agent_id
)
select agent_id, number from planned where organization_id = %(large)s order by number
