-- Authenticates a client, grants the scope for a resource and counts the token issued at "at", all or nothing.
-- No row for any failed authentication. Otherwise one row: scope is what is granted, space-separated, and null if
-- nothing was issued and counted, because is_target_known is false (no such resource), is_proof_missing is true (the
-- agent's tokens must be bound to a key), or the agent lacks a requested scope for the resource.
-- Parameters: organization_id; agent_id; at (timestamptz); day and hour: of "at" in UTC;
-- secret_hash, or null if a key authenticated: then credential_id is that key's credential;
-- resource: of a resource server of the organization, which must hold this identifier, or null for our own API, whose
-- scopes are own_scopes (text[]);
-- scope (text[], null: all that the agent has for the resource);
-- has_proof: whether the token will be bound to a key.
with client as materialized (
    select
        agent_id,
        credential_id,
        scopes,
        -- Written as a case, resource servers are read only if the request names one.
        case
            when %(resource)s::text is null then %(own_scopes)s::text[]
            else (
                select resource_servers.scopes
                from resource_servers
                join resource_identifiers using (organization_id)
                where
                    resource_servers.organization_id = %(organization_id)s
                    and resource_servers.resource = %(resource)s::text
                    and resource_identifiers.resource = resource_key(%(resource)s::text)
            )
        end as target_scopes,
        dpop_bound_access_tokens and not %(has_proof)s::boolean as is_proof_missing
    from client_credentials
    where
        organization_id = %(organization_id)s
        and agent_id = %(agent_id)s
        -- Digests of 256 random bits: the time of the comparison reveals nothing about the secret.
        and (
            secret_hash = %(secret_hash)s::bytea
            or (%(secret_hash)s::bytea is null and credential_id = %(credential_id)s::uuid)
        )
        and (expires_at is null or expires_at > %(at)s)
),
decided as materialized (
    select
        agent_id,
        credential_id,
        target_scopes is not null as is_target_known,
        is_proof_missing,
        case
            when target_scopes is null or is_proof_missing then null
            when %(scope)s::text[] <@ scopes and %(scope)s::text[] <@ target_scopes then %(scope)s::text[]
            when %(scope)s::text[] is not null then null
            when scopes <@ target_scopes then scopes
            -- What the agent has for this resource, in the agent's order.
            else array(
                select held.scope
                from unnest(scopes) with ordinality as held (scope, ordinal)
                where held.scope = any (target_scopes)
                order by held.ordinal
            )
        end as scope
    from client
),
granted as materialized (
    select agent_id, credential_id, take_slot(%(organization_id)s::text) as slot
    from decided
    where scope is not null
),
organization_usage as (
    insert into usage_daily as usage
        (organization_id, day, slot, tokens, tokens_by_hour, requests_by_hour, rejected_by_hour)
    select
        %(organization_id)s, %(day)s::date, slot, 1,
        count_at(%(hour)s::integer), count_at(%(hour)s::integer), count_nothing()
    from granted
    on conflict (organization_id, day, slot) do update
    set
        tokens = usage.tokens + 1,
        tokens_by_hour[%(hour)s::integer + 1] = usage.tokens_by_hour[%(hour)s::integer + 1] + 1,
        requests_by_hour[%(hour)s::integer + 1] = usage.requests_by_hour[%(hour)s::integer + 1] + 1
),
agent_usage as (
    insert into agent_usage_daily as usage
        (
            organization_id, day, agent_id, slot, tokens, requests, rejected,
            tokens_by_hour, requests_by_hour, rejected_by_hour
        )
    select
        %(organization_id)s, %(day)s::date, agent_id, slot, 1, 1, 0,
        count_at(%(hour)s::integer), count_at(%(hour)s::integer), count_nothing()
    from granted
    on conflict (organization_id, day, agent_id, slot) do update
    set
        tokens = usage.tokens + 1,
        requests = usage.requests + 1,
        tokens_by_hour[%(hour)s::integer + 1] = usage.tokens_by_hour[%(hour)s::integer + 1] + 1,
        requests_by_hour[%(hour)s::integer + 1] = usage.requests_by_hour[%(hour)s::integer + 1] + 1
),
credential_usage as (
    -- At most once a minute: a write for each token would make all tokens of one credential wait for its row.
    update credentials
    set last_used_at = %(at)s
    from granted
    where
        credentials.organization_id = %(organization_id)s
        and credentials.credential_id = granted.credential_id
        and (credentials.last_used_at is null or credentials.last_used_at < %(at)s - interval '1 minute')
)
select is_target_known, is_proof_missing, array_to_string(scope, ' ') as scope from decided
