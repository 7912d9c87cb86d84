-- Authenticates a client by its secret, grants the scope and counts the token issued at "at", all or nothing.
-- One row where the client is authentic: scope is what is granted, or null where more was asked than the agent has,
-- and then nothing is counted. No row for any failed authentication.
-- Parameters: organization_id; agent_id; secret_hash; scope (text[], null: all that the agent has); at (timestamptz).
with moment as (
    select
        (%(at)s::timestamptz at time zone 'UTC')::date as day,
        extract(hour from %(at)s::timestamptz at time zone 'UTC')::integer as hour
),
client as materialized (
    select
        agents.agent_id,
        credentials.credential_id,
        case
            when %(scope)s::text[] is null then agents.scopes
            when %(scope)s::text[] <@ agents.scopes then %(scope)s::text[]
        end as scope
    from agents
    join credentials using (organization_id, agent_id)
    where
        agents.organization_id = %(organization_id)s
        and agents.agent_id = %(agent_id)s
        and agents.status = 'active'
        and agents.deleted_at is null
        -- Compared as digests of 256 random bits: how long it takes tells nothing that leads to the secret.
        and credentials.secret_hash = %(secret_hash)s
        and credentials.revoked_at is null
        and (credentials.expires_at is null or credentials.expires_at > %(at)s)
),
granted as materialized (
    select agent_id, credential_id, take_slot(%(organization_id)s::text) as slot
    from client
    where scope is not null
),
organization_usage as (
    insert into usage_daily as usage
        (organization_id, day, slot, tokens, tokens_by_hour, requests_by_hour, rejected_by_hour)
    select %(organization_id)s, day, slot, 1, count_at(hour), count_at(hour), count_nothing()
    from granted
    cross join moment
    on conflict (organization_id, day, slot) do update
    set
        tokens = usage.tokens + 1,
        tokens_by_hour[(select hour + 1 from moment)] =
            usage.tokens_by_hour[(select hour + 1 from moment)] + 1,
        requests_by_hour[(select hour + 1 from moment)] =
            usage.requests_by_hour[(select hour + 1 from moment)] + 1
),
agent_usage as (
    insert into agent_usage_daily as usage
        (
            organization_id, day, agent_id, slot, tokens, requests, rejected,
            tokens_by_hour, requests_by_hour, rejected_by_hour
        )
    select
        %(organization_id)s, day, agent_id, slot, 1, 1, 0,
        count_at(hour), count_at(hour), count_nothing()
    from granted
    cross join moment
    on conflict (organization_id, day, agent_id, slot) do update
    set
        tokens = usage.tokens + 1,
        requests = usage.requests + 1,
        tokens_by_hour[(select hour + 1 from moment)] =
            usage.tokens_by_hour[(select hour + 1 from moment)] + 1,
        requests_by_hour[(select hour + 1 from moment)] =
            usage.requests_by_hour[(select hour + 1 from moment)] + 1
),
credential_usage as (
    -- Once a minute at the most: a write a token would make all tokens of one credential queue for its row.
    update credentials
    set last_used_at = %(at)s
    from granted
    where
        credentials.organization_id = %(organization_id)s
        and credentials.credential_id = granted.credential_id
        and (credentials.last_used_at is null or credentials.last_used_at < %(at)s - interval '1 minute')
)
select scope from client
