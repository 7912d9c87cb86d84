-- Returns the tokens with which agents acted for a subject in a period, one row per acting agent, subject and resource: agent_id and
-- agent_name of the acting agent; subject_agent_id and subject_agent_name of the agent for which it acted (null: a subject of
-- another issuer); issuer: the other issuer, or empty; resource; days (integer[], ascending): the days with tokens, as numbers of
-- days after "first"; tokens (bigint[]): the tokens on each of these days.
-- Parameters: organization_id; agent_id: returns only the tokens of which this agent is the acting agent or the subject (null: all
-- tokens); first and last: the first and the last day of the period.
--
-- max-pages-read-with-1000-agents: 300
with used as (
    select agent_id, subject_agent_id, issuer, resource, day, tokens
    from delegation_usage_daily
    where
        %(agent_id)s::uuid is null
        and organization_id = %(organization_id)s and day >= %(first)s::date and day < %(last)s::date + 1
    union all
    -- This select looks up each day by its key, because reading a range of days would read the rows of all agents.
    select acted.agent_id, acted.subject_agent_id, acted.issuer, acted.resource, calendar.day, acted.tokens
    from generate_series(0, %(last)s::date - %(first)s::date) as ago (days)
    cross join lateral (select %(first)s::date + ago.days as day offset 0) as calendar
    cross join lateral (
        select usage.agent_id, usage.subject_agent_id, usage.issuer, usage.resource, usage.tokens
        from delegation_usage_daily as usage
        where usage.organization_id = %(organization_id)s and usage.day = calendar.day and usage.agent_id = %(agent_id)s
        offset 0
    ) as acted
    union all
    select agent_id, subject_agent_id, issuer, resource, day, tokens
    from delegation_usage_daily
    where
        organization_id = %(organization_id)s and subject_agent_id = %(agent_id)s and issuer = ''
        and day >= %(first)s::date and day < %(last)s::date + 1
        -- The tokens of an agent that acted for itself are left out, because the select above has read them.
        and agent_id <> %(agent_id)s
),
counted as (
    select agent_id, subject_agent_id, issuer, resource, day, sum(tokens)::bigint as tokens
    from used
    group by agent_id, subject_agent_id, issuer, resource, day
),
summed as (
    select
        agent_id,
        subject_agent_id,
        issuer,
        resource,
        array_agg(day - %(first)s::date order by day) as days,
        array_agg(tokens order by day) as tokens
    from counted
    group by agent_id, subject_agent_id, issuer, resource
)
select
    summed.agent_id,
    actor.name as agent_name,
    nullif(summed.subject_agent_id, nil_uuid()) as subject_agent_id,
    subject.name as subject_agent_name,
    summed.issuer,
    summed.resource,
    summed.days,
    summed.tokens
from summed
-- This lateral join looks up each agent by its key. For a plain join, a planner that expects few agents would choose a plan that
-- takes quadratic time.
cross join lateral (
    select agents.name
    from agents
    where agents.organization_id = %(organization_id)s and agents.agent_id = summed.agent_id
    offset 0
) as actor
left join lateral (
    select agents.name
    from agents
    where agents.organization_id = %(organization_id)s and agents.agent_id = summed.subject_agent_id
    offset 0
) as subject on true
