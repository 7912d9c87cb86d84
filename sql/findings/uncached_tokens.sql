-- The agents that habitually were issued many times the tokens that their lifetime and the agents' active hours
-- require. A day of an agent is too costly where its tokens are at least so many, and more than "factor" times the
-- fewest that would have done: for each run of active hours, from its first to its last, one token a lifetime. And
-- not for a few hours of it only: in half of its active hours or more, more than "factor" tokens a lifetime.
-- A habit is a number of such days in a row among those on which the agent was active, that lies further apart than an
-- incident does.
-- One row an agent, for the latest habit that reaches into the days looked at; the greatest waste first.
-- Parameters: organization_id; at (timestamptz): now; days: how many days back a habit may end, today included;
-- least_days_read, most_days_read: how many days are read at least and at most, today included; token_ttl: a token's
-- lifetime in seconds; factor; least_tokens: of a day; least_days: of a habit; least_span: hours from its first costly
-- hour to its last; most_looked_into: how many agents, those with the most tokens; most: how many agents.
with daily as materialized (
    select
        usage.agent_id,
        usage.day,
        sum(usage.tokens) as tokens,
        -- The fewest are no fewer than one token a lifetime of active hours: most arrays need not be opened.
        sum(usage.tokens) >= %(least_tokens)s::bigint
        and sum(usage.tokens) > %(factor)s::integer
            * ceil(max(cardinality(array_remove(usage.requests_by_hour, 0))) * 3600.0 / %(token_ttl)s::integer)
            as is_suspect
    from agent_usage_daily as usage
    where
        usage.organization_id = %(organization_id)s
        and usage.day >= (%(at)s::timestamptz at time zone 'UTC')::date
            - least(greatest(%(days)s::integer, %(least_days_read)s::integer), %(most_days_read)s::integer) + 1
        and usage.day < (%(at)s::timestamptz at time zone 'UTC')::date + 1
    group by usage.agent_id, usage.day
    having sum(usage.requests) > 0
),
suspect_agents as (
    select agent_id
    from daily
    where is_suspect
    group by agent_id
    having count(*) >= %(least_days)s::integer
    order by sum(tokens) desc, agent_id
    limit %(most_looked_into)s::integer
),
numbered as (
    select agent_id, day, is_suspect, row_number() over (partition by agent_id order by day) as number
    from daily
    where agent_id in (select agent_id from suspect_agents)
),
suspect as (
    select agent_id, day, number
    from numbered
    where is_suspect
),
hourly as (
    select
        suspect.agent_id,
        suspect.day,
        suspect.number,
        cell.ordinal::integer - 1 as hour,
        sum(cell.tokens) as tokens
    from suspect
    join agent_usage_daily as usage
        on usage.organization_id = %(organization_id)s
        and usage.day = suspect.day
        and usage.agent_id = suspect.agent_id
    cross join lateral unnest(usage.tokens_by_hour, usage.requests_by_hour)
        with ordinality as cell (tokens, requests, ordinal)
    where cell.requests > 0
    group by suspect.agent_id, suspect.day, suspect.number, cell.ordinal
),
-- A token that lasts longer than an hour spans the idle hours between two active ones.
stepped as (
    select
        agent_id, day, number, hour, tokens,
        (
            hour - lag(hour) over (partition by agent_id, day order by hour)
            <= greatest(%(token_ttl)s::integer / 3600, 1)
        ) is not true as begins_run
    from hourly
),
in_runs as (
    select
        agent_id, day, number, hour, tokens,
        count(*) filter (where begins_run) over (partition by agent_id, day order by hour) as run
    from stepped
),
runs as (
    select
        agent_id, day, number,
        sum(tokens) as tokens,
        ceil((max(hour) - min(hour) + 1) * 3600.0 / %(token_ttl)s::integer) as fewest,
        count(*) as hours,
        count(*) filter (where tokens * %(token_ttl)s::integer > %(factor)s::integer * 3600) as costly_hours,
        min(hour) filter (where tokens * %(token_ttl)s::integer > %(factor)s::integer * 3600) as first_costly,
        max(hour) filter (where tokens * %(token_ttl)s::integer > %(factor)s::integer * 3600) as last_costly
    from in_runs
    group by agent_id, day, number, run
),
costly_days as (
    select
        agent_id, day,
        sum(tokens) as tokens,
        sum(fewest) as fewest,
        day + make_interval(hours => min(first_costly)) as first_costly,
        day + make_interval(hours => max(last_costly)) as last_costly,
        -- The same for all days in a row.
        number - row_number() over (partition by agent_id order by day) as streak
    from runs
    group by agent_id, day, number
    having
        sum(tokens) >= %(least_tokens)s::bigint
        and sum(tokens) > %(factor)s::integer * sum(fewest)
        and sum(costly_hours) * 2 >= sum(hours)
),
habits as (
    select distinct on (agent_id)
        agent_id,
        min(day) as first_day,
        max(day) as last_day,
        count(*) as days,
        sum(tokens)::bigint as tokens,
        sum(fewest)::bigint as fewest
    from costly_days
    group by agent_id, streak
    having
        count(*) >= %(least_days)s::integer
        and max(last_costly) - min(first_costly) >= make_interval(hours => %(least_span)s::integer)
        and max(day) > (%(at)s::timestamptz at time zone 'UTC')::date - %(days)s::integer
    order by agent_id, last_day desc
)
select
    habits.agent_id,
    agents.name as agent_name,
    habits.first_day,
    habits.last_day,
    habits.days,
    habits.tokens,
    habits.fewest
from habits
join agents
    on agents.organization_id = %(organization_id)s
    and agents.agent_id = habits.agent_id
    and agents.deleted_at is null
order by habits.tokens - habits.fewest desc, habits.agent_id
limit %(most)s::integer
