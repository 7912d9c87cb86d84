-- Admits an authenticated agent and counts its request at "at". One row where the agent is active; no row, and
-- nothing counted, where it is suspended, deleted or unknown, or where its token is revoked.
-- Parameters: organization_id; agent_id; jti: of the token; at (timestamptz).
with moment as (
    select
        (%(at)s::timestamptz at time zone 'UTC')::date as day,
        extract(hour from %(at)s::timestamptz at time zone 'UTC')::integer as hour
),
admitted as materialized (
    select agent_id, take_slot(organization_id) as slot
    from agents
    where
        organization_id = %(organization_id)s
        and agent_id = %(agent_id)s
        and status = 'active'
        -- Not deleted, in terms that leave the planner no index but the key.
        and coalesce(deleted_at, 'infinity') = 'infinity'
        and not exists (
            select
            from revoked_tokens
            where
                organization_id = %(organization_id)s
                and jti = %(jti)s
        )
),
organization_usage as (
    insert into usage_daily as usage
        (organization_id, day, slot, tokens, tokens_by_hour, requests_by_hour, rejected_by_hour)
    select %(organization_id)s, day, slot, 0, count_nothing(), count_at(hour), count_nothing()
    from admitted
    cross join moment
    on conflict (organization_id, day, slot) do update
    set requests_by_hour[(select hour + 1 from moment)] =
        usage.requests_by_hour[(select hour + 1 from moment)] + 1
),
agent_usage as (
    insert into agent_usage_daily as usage
        (
            organization_id, day, agent_id, slot, tokens, requests, rejected,
            tokens_by_hour, requests_by_hour, rejected_by_hour
        )
    select
        %(organization_id)s, day, agent_id, slot, 0, 1, 0,
        count_nothing(), count_at(hour), count_nothing()
    from admitted
    cross join moment
    on conflict (organization_id, day, agent_id, slot) do update
    set
        requests = usage.requests + 1,
        requests_by_hour[(select hour + 1 from moment)] =
            usage.requests_by_hour[(select hour + 1 from moment)] + 1
)
select agent_id from admitted
