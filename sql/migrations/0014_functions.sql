-- Counting, issuing a token and introspection as functions: one way for PostgreSQL and for Citus, which runs a function on
-- the server that has the organization's rows. The current text of each function is in sql/functions.

create or replace view client_credentials with (security_invoker = true) as
select
    agents.organization_id,
    agents.agent_id,
    agents.scopes,
    agents.dpop_bound_access_tokens,
    credentials.credential_id,
    credentials.secret_hash,
    credentials.jwks,
    credentials.created_at,
    credentials.expires_at,
    credentials.last_used_at
from active_agents as agents
join credentials using (organization_id, agent_id)
where credentials.revoked_at is null;

-- Opens the transaction's view of one organization, and sets how it commits. Returns the two settings.
--
-- Parameters: p_organization_id; p_durable: false lets the commit be acknowledged before it is on disk.
create or replace function enter_organization(
    p_organization_id text,
    p_durable boolean
) returns text
language plpgsql as $$
begin
    return set_config('agentidp.organization_id', p_organization_id, true) || ' ' || set_config(
        'synchronous_commit',
        case
            when not p_durable then 'off'
            -- A worker of Citus has defaults of its own.
            when current_setting('synchronous_commit') = 'off' then 'on'
            else current_setting('synchronous_commit')
        end,
        true
    );
end $$;

-- Consumes an identifier that is accepted once, in the transaction's view of the organization. A second use is a unique
-- violation, which undoes all that the transaction does. Returns true.
--
-- One use in 16 deletes up to 64 identifiers that have expired, four for each use, so that most uses only insert.
--
-- Parameters: p_organization_id; p_digest: 32 bytes, of SHA-256; p_expires_at: from then on the identifier is refused
-- anyway; p_at.
create or replace function consume_identifier(
    p_organization_id text,
    p_digest bytea,
    p_expires_at timestamptz,
    p_at timestamptz
) returns boolean
language plpgsql as $$
declare
    v_expired bytea[] := '{}';
    v_digest bytea;
begin
    if get_byte(p_digest, 0) < 16 then
        -- A statement of its own: Citus locks rows for no sub-select.
        for v_digest in
            select digest
            from used_identifiers
            where
                organization_id = p_organization_id
                and expires_at < p_at
                -- Not the same identifier: its time refuses a second use.
                and digest <> p_digest
            -- By the index on the expiry, which finds at once that none has expired.
            order by expires_at
            limit 64
            for update skip locked
        loop
            v_expired := v_expired || v_digest;
        end loop;
        -- By primary key. A plan that was made on an empty table would read the whole table for a join or a ctid.
        delete from used_identifiers
        where organization_id = p_organization_id and digest = any (v_expired);
    end if;
    insert into used_identifiers (organization_id, digest, expires_at)
    values (p_organization_id, p_digest, p_expires_at);
    return true;
end $$;

-- Counts tokens, requests and rejected requests of an agent in an hour. The service counts by nothing else.
--
-- It counts in the lowest slot of the organization in which no other transaction is counting. The slot is taken until
-- the commit, so the commits of a hot organization do not wait for one another, and a quiet one keeps a single row a
-- day. If all 16 are taken, it shares one. The organization's row is always locked before the agent's, so that no two
-- transactions wait for each other.
--
-- Returns the slot. Parameters: p_organization_id; p_agent_id; p_day and p_hour (0 to 23): in UTC; p_tokens, p_requests,
-- p_rejected: how many of each; a token is a request as well.
create or replace function count_usage(
    p_organization_id text,
    p_agent_id uuid,
    p_day date,
    p_hour integer,
    p_tokens integer,
    p_requests integer,
    p_rejected integer
) returns smallint
language plpgsql as $$
declare
    v_slot smallint := 0;
    v_hour integer := p_hour + 1;
begin
    -- Or the arrays would grow. A check of the tables would be parsed at every update.
    if p_hour not between 0 and 23 then
        raise exception 'hour % is not one of a day', p_hour using errcode = 'datetime_field_overflow';
    end if;
    while not pg_try_advisory_xact_lock(hashtext(p_organization_id), v_slot) loop
        v_slot := v_slot + 1;
        if v_slot = 16 then
            v_slot := pg_backend_pid() % 16;
            exit;
        end if;
    end loop;
    loop
        update usage_daily
        set
            tokens = tokens + p_tokens,
            tokens_by_hour[v_hour] = tokens_by_hour[v_hour] + p_tokens,
            requests_by_hour[v_hour] = requests_by_hour[v_hour] + p_requests,
            rejected_by_hour[v_hour] = rejected_by_hour[v_hour] + p_rejected
        where organization_id = p_organization_id and day = p_day and slot = v_slot;
        exit when found;
        -- The slot's first of the day. Another transaction may share the slot and be the first as well.
        insert into usage_daily
            (organization_id, day, slot, tokens, tokens_by_hour, requests_by_hour, rejected_by_hour)
        values (p_organization_id, p_day, v_slot, 0, count_nothing(), count_nothing(), count_nothing())
        on conflict do nothing;
    end loop;
    loop
        update agent_usage_daily
        set
            tokens = tokens + p_tokens,
            requests = requests + p_requests,
            rejected = rejected + p_rejected,
            tokens_by_hour[v_hour] = tokens_by_hour[v_hour] + p_tokens,
            requests_by_hour[v_hour] = requests_by_hour[v_hour] + p_requests,
            rejected_by_hour[v_hour] = rejected_by_hour[v_hour] + p_rejected
        where organization_id = p_organization_id and day = p_day and agent_id = p_agent_id and slot = v_slot;
        exit when found;
        insert into agent_usage_daily
            (
                organization_id, day, agent_id, slot, tokens, requests, rejected,
                tokens_by_hour, requests_by_hour, rejected_by_hour
            )
        values
            (
                p_organization_id, p_day, p_agent_id, v_slot, 0, 0, 0,
                count_nothing(), count_nothing(), count_nothing()
            )
        on conflict do nothing;
    end loop;
    return v_slot;
end $$;

-- Admits an authenticated agent and counts its request, in the transaction's view of the organization, which it opens.
-- The statement usage/record_request says what it returns, and what its parameters are.
create or replace function admit_request(
    p_organization_id text,
    p_agent_id uuid,
    p_jti text,
    p_day date,
    p_hour integer,
    p_durable boolean
) returns setof uuid
language plpgsql as $$
declare
    v_entered text;
    v_slot smallint;
begin
    v_entered := enter_organization(p_organization_id, p_durable);
    perform
    from active_agents
    where
        organization_id = p_organization_id
        and agent_id = p_agent_id
        and not exists (
            select 1
            from revoked_tokens
            where
                organization_id = p_organization_id
                -- The first argument's collation, which is "C", would apply to this one, and the index has another.
                and jti = p_jti collate "default"
        );
    if found then
        v_slot := count_usage(p_organization_id, p_agent_id, p_day, p_hour, 0, 1, 0);
        return next p_agent_id;
    end if;
end $$;

-- The scopes of an organization's resource server, or null if the organization has none with this resource or does not
-- hold its identifier. Runs in the transaction's view of the organization.
-- Parameters: p_organization_id; p_resource: as it was registered.
create or replace function held_resource_scopes(
    p_organization_id text,
    p_resource text
) returns text[]
language plpgsql stable as $$
declare
    v_scopes text[] := (
        select scopes
        from resource_servers
        -- The first argument's collation, which is "C", would apply to this one, and the index has another.
        where organization_id = p_organization_id and resource = p_resource collate "default"
    );
begin
    -- Not joined: on Citus, a function's statement reads the organization's rows or a table that is on every node.
    if v_scopes is not null and exists (
        select 1
        from resource_identifiers
        where organization_id = p_organization_id and resource = resource_key(p_resource collate "default")
    ) then
        return v_scopes;
    end if;
    return null;
end $$;

-- Authenticates a client and returns whether a verified token of its organization is active, in the transaction's view of
-- the organization, which it opens. The statement oauth/introspect_token says what it returns, and what its parameters
-- are.
create or replace function introspect_token(
    p_organization_id text,
    p_agent_id uuid,
    p_at timestamptz,
    p_secret_hash bytea,
    p_jwk jsonb, p_digest bytea, p_expires_at timestamptz,
    p_token_agent_id uuid, p_jti text, p_audience text,
    p_own_resource text,
    p_durable boolean
) returns table (scopes text[], is_active boolean)
language plpgsql as $$
declare
    v_client record;
    v_entered text;
    v_is_consumed boolean;
begin
    v_entered := enter_organization(p_organization_id, p_durable);
    -- The conditions are those of issue_access_token.
    select
        client.credential_id,
        client.scopes,
        client.last_used_at,
        exists (
            select
            from active_agents
            where organization_id = p_organization_id and agent_id = p_token_agent_id
        )
        and not exists (
            select
            from revoked_tokens
            -- The first argument's collation, which is "C", would apply to this one, and the index has another.
            where organization_id = p_organization_id and jti = p_jti collate "default"
        ) as is_active
    into v_client
    from client_credentials as client
    where
        client.organization_id = p_organization_id and client.agent_id = p_agent_id
        and (client.secret_hash = p_secret_hash or (p_secret_hash is null and client.jwks @> p_jwk))
        and (client.expires_at is null or client.expires_at > p_at)
    limit 1;
    if not found then
        return;
    end if;
    if p_digest is not null then
        v_is_consumed := consume_identifier(p_organization_id, p_digest, p_expires_at, p_at);
    end if;
    -- As for a token: who replaces a secret waits until this no longer changes.
    if v_client.last_used_at is null or v_client.last_used_at < p_at - interval '1 minute' then
        update credentials
        set last_used_at = p_at
        where
            organization_id = p_organization_id and credential_id = v_client.credential_id
            and (last_used_at is null or last_used_at < p_at - interval '1 minute');
    end if;
    scopes := v_client.scopes;
    is_active := v_client.is_active and (
        p_audience = p_own_resource or held_resource_scopes(p_organization_id, p_audience) is not null
    );
    return next;
end $$;

-- Authenticates a client, grants the scope for a resource and counts the token issued at p_at, all or nothing, in the
-- transaction's view of the organization, which it opens. The statement oauth/issue_access_token says what it returns,
-- and what its parameters are.
create or replace function issue_access_token(
    p_organization_id text,
    p_agent_id uuid,
    p_at timestamptz, p_day date, p_hour integer,
    p_secret_hash bytea,
    p_jwk jsonb, p_digest bytea, p_expires_at timestamptz,
    p_scope text[], p_own_scopes text[], p_resource text,
    p_has_proof boolean,
    p_durable boolean
) returns table (is_target_known boolean, is_proof_missing boolean, scope text)
language plpgsql as $$
declare
    v_agent record;
    v_credential record;
    v_target_scopes text[] := p_own_scopes;
    v_granted text[];
    -- These two are never read: they are there only for the call.
    v_entered text;
    v_slot smallint;
    v_is_consumed boolean;
    v_is_active boolean;
begin
    v_entered := enter_organization(p_organization_id, p_durable);
    -- What the view client_credentials joins, one table after the other: on Citus, a worker keeps the plan of a statement
    -- that reads one table, and plans a join for each token, which took a third of the token's time. All are read in any
    -- case, so that the time does not tell a client that exists from one that does not.
    perform from organizations where organization_id = p_organization_id and suspended_at is null;
    v_is_active := found;
    select scopes, dpop_bound_access_tokens
    into v_agent
    from agents
    where
        organization_id = p_organization_id and agent_id = p_agent_id
        and status = 'active' and coalesce(deleted_at, 'infinity') = 'infinity';
    v_is_active := v_is_active and found;
    select credential_id, last_used_at
    into v_credential
    from credentials
    where
        organization_id = p_organization_id and agent_id = p_agent_id
        -- Digests of 256 random bits: the time of the comparison reveals nothing about the secret.
        and (secret_hash = p_secret_hash or (p_secret_hash is null and jwks @> p_jwk))
        and (expires_at is null or expires_at > p_at)
        and revoked_at is null
    limit 1;
    if not found or not v_is_active then
        return;
    end if;
    if p_digest is not null then
        v_is_consumed := consume_identifier(p_organization_id, p_digest, p_expires_at, p_at);
    end if;
    if p_resource is not null then
        v_target_scopes := held_resource_scopes(p_organization_id, p_resource);
    end if;
    is_target_known := v_target_scopes is not null;
    is_proof_missing := v_agent.dpop_bound_access_tokens and not p_has_proof;
    if is_target_known and not is_proof_missing then
        if p_scope is not null then
            if p_scope <@ v_agent.scopes and p_scope <@ v_target_scopes then
                v_granted := p_scope;
            end if;
        elsif v_agent.scopes <@ v_target_scopes then
            v_granted := v_agent.scopes;
        else
            -- What the agent has for this resource, in the agent's order.
            v_granted := array(
                select held.scope
                from unnest(v_agent.scopes) with ordinality as held (scope, ordinal)
                where held.scope = any (v_target_scopes)
                order by held.ordinal
            );
        end if;
    end if;
    if v_granted is not null then
        v_slot := count_usage(p_organization_id, p_agent_id, p_day, p_hour, 1, 1, 0);
        -- At most once a minute: a write for each token would make all tokens of one credential wait for its row.
        if v_credential.last_used_at is null or v_credential.last_used_at < p_at - interval '1 minute' then
            update credentials
            set last_used_at = p_at
            where
                organization_id = p_organization_id and credential_id = v_credential.credential_id
                and (last_used_at is null or last_used_at < p_at - interval '1 minute');
        end if;
    end if;
    scope := array_to_string(v_granted, ' ');
    return next;
end $$;
