-- Admits an authenticated agent and counts its request. One row if the agent is active; no row, and
-- nothing counted, if it is suspended, deleted or unknown, or if its token is revoked.
-- Parameters: organization_id; agent_id; jti: of the token; day and hour: of the request in UTC.
with admitted as materialized (
    select agent_id, take_slot(organization_id) as slot
    from active_agents
    where
        organization_id = %(organization_id)s
        and agent_id = %(agent_id)s
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
    select %(organization_id)s, %(day)s::date, slot, 0, count_nothing(), count_at(%(hour)s::integer), count_nothing()
    from admitted
    on conflict (organization_id, day, slot) do update
    set requests_by_hour[%(hour)s::integer + 1] = usage.requests_by_hour[%(hour)s::integer + 1] + 1
),
agent_usage as (
    insert into agent_usage_daily as usage
        (
            organization_id, day, agent_id, slot, tokens, requests, rejected,
            tokens_by_hour, requests_by_hour, rejected_by_hour
        )
    select
        %(organization_id)s, %(day)s::date, agent_id, slot, 0, 1, 0,
        count_nothing(), count_at(%(hour)s::integer), count_nothing()
    from admitted
    on conflict (organization_id, day, agent_id, slot) do update
    set
        requests = usage.requests + 1,
        requests_by_hour[%(hour)s::integer + 1] = usage.requests_by_hour[%(hour)s::integer + 1] + 1
)
select agent_id from admitted
