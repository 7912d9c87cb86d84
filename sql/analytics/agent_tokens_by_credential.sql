-- Returns the tokens of one agent, as in analytics/tokens_by_credential, with the agent's name as agent_name, one row per
-- credential and resource, and always one row whose credential_id is null, with all tokens of the agent. Returns no row if the
-- organization has never had such an agent.
-- Parameters: organization_id; agent_id; first; last: the first and the last day.
-- Reads each day separately: the key begins with the day, so a range of days would read all agents.
--
-- pages: 500, the agent's days, two look-ups each
-- fleet-pages: 600
with calendar as (
    select ago.days, %(first)s::date + ago.days as day
    from generate_series(0, %(last)s::date - %(first)s::date) as ago (days)
),
counted as (
    select used.credential_id, used.resource, calendar.days, sum(used.tokens)::bigint as tokens
    from calendar
    cross join lateral (
        select usage.credential_id, usage.resource, usage.tokens
        from credential_usage_daily as usage
        where usage.organization_id = %(organization_id)s and usage.day = calendar.day and usage.agent_id = %(agent_id)s
        offset 0
    ) as used
    group by used.credential_id, used.resource, calendar.days
),
issued as (
    select calendar.days, sum(used.tokens)::bigint as tokens
    from calendar
    cross join lateral (
        select usage.tokens
        from agent_usage_daily as usage
        where usage.organization_id = %(organization_id)s and usage.day = calendar.day and usage.agent_id = %(agent_id)s
        offset 0
    ) as used
    group by calendar.days
),
found as (
    select credential_id, resource, array_agg(days order by days) as days, array_agg(tokens order by days) as tokens
    from counted
    group by credential_id, resource
    union all
    select
        null, null, coalesce(array_agg(days order by days), '{}'), coalesce(array_agg(tokens order by days), '{}')
    from issued
)
select agents.agent_id, agents.name as agent_name, found.credential_id, found.resource, found.days, found.tokens
from agents
cross join found
where agents.organization_id = %(organization_id)s and agents.agent_id = %(agent_id)s
