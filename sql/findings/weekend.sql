-- Agents at work on a weekday on which the organization usually does little, and they hardly anything. One row for each
-- run of adjacent UTC days: its first and last day, is_quiet: whether these are quiet as a whole for each of them, how
-- many agents, their requests and what is usual of them, and the agents with most requests, as arrays: agent_ids,
-- names, counts. Of an agent whose day is not quiet as a whole only the hours of its rest count.
-- Parameters: organization_id; at (timestamptz): now; days: how many days back, today included; weeks: how many weeks
-- before a day are looked at; least_weeks: how many of them an agent must have been at work; quiet_weekdays: how many
-- weekdays are looked at, first those with less than half of the average tokens, then Saturday and Sunday;
-- quiet_percent: of an agent's average day, what is hardly anything, and by how much it must be exceeded; part_percent:
-- of it, up to which a day is judged by the hours of rest;
-- least_requests: by which it must be exceeded, too; most_agents.
with counted as (
    select usage.day, sum(usage.tokens) as tokens
    from usage_daily as usage
    where
        usage.organization_id = %(organization_id)s
        and usage.day >= (%(at)s::timestamptz at time zone 'UTC')::date - 7 * %(weeks)s::integer
        and usage.day < (%(at)s::timestamptz at time zone 'UTC')::date
    group by usage.day
),
quiet as (
    select extract(dow from calendar.day) as dow
    from generate_series(1, 7 * %(weeks)s::integer) as ago (days)
    cross join lateral (select (%(at)s::timestamptz at time zone 'UTC')::date - ago.days as day) as calendar
    left join counted on counted.day = calendar.day
    group by extract(dow from calendar.day)
    -- Where none is clearly quieter, a few large agents make up the tokens, and say little of when the others rest.
    order by
        percentile_disc(0.5) within group (order by coalesce(counted.tokens, 0)) * 2
            > avg(percentile_disc(0.5) within group (order by coalesce(counted.tokens, 0))) over (),
        extract(dow from calendar.day) in (0, 6) desc,
        percentile_disc(0.5) within group (order by coalesce(counted.tokens, 0))
    limit %(quiet_weekdays)s::integer
),
-- The days and no range, so that the index finds those alone.
looked_at as materialized (
    select calendar.day
    from generate_series(0, %(days)s::integer - 1) as ago (days)
    cross join lateral (select (%(at)s::timestamptz at time zone 'UTC')::date - ago.days as day) as calendar
    cross join lateral (select calendar.day - 7 * %(least_weeks)s::integer as day offset 0) as before
    join quiet on quiet.dow = extract(dow from calendar.day)
    -- In an organization that is too young, nobody's past is looked for.
    where
        exists (
            select
            from usage_daily as usage
            where
                usage.organization_id = %(organization_id)s
                and usage.day <= before.day
        )
),
-- Sums, a limit and "offset 0" keep the planner, who does not know how few days these are, from joining all history.
at_work as materialized (
    select looked_at.day, counted.agent_id, counted.requests
    from looked_at
    cross join lateral (
        select usage.agent_id, sum(usage.requests) as requests
        from agent_usage_daily as usage
        where
            usage.organization_id = %(organization_id)s
            and usage.day = looked_at.day
        group by usage.agent_id
        having sum(usage.requests) >= %(least_requests)s::integer
    ) as counted
),
-- Whoever did more than half as much in each of the two weeks before is at home on that weekday. That tells most of
-- them from few reads; slots need not be added up for it.
unusual as materialized (
    select at_work.*
    from at_work
    cross join lateral (select at_work.day - 7 as a_week_ago, at_work.day - 14 as two_weeks_ago offset 0) as before
    where
        (
            select usage.requests
            from agent_usage_daily as usage
            where
                usage.organization_id = %(organization_id)s
                and usage.day = before.a_week_ago
                and usage.agent_id = at_work.agent_id
                and usage.requests * 2 > at_work.requests
            limit 1
        ) is null
        or (
            select usage.requests
            from agent_usage_daily as usage
            where
                usage.organization_id = %(organization_id)s
                and usage.day = before.two_weeks_ago
                and usage.agent_id = at_work.agent_id
                and usage.requests * 2 > at_work.requests
            limit 1
        ) is null
),
known as materialized (
    select unusual.*, least(%(weeks)s::integer, begun.days / 7) as weeks
    from unusual
    cross join lateral (
        select ago.days
        from generate_series(7 * %(weeks)s::integer, 7 * %(least_weeks)s::integer, -1) as ago (days)
        cross join lateral (select unusual.day - ago.days as day offset 0) as calendar
        cross join lateral (
            select usage.requests
            from agent_usage_daily as usage
            where
                usage.organization_id = %(organization_id)s
                and usage.day = calendar.day
                and usage.agent_id = unusual.agent_id
                and usage.requests > 0
            offset 0
        ) as counted
        limit 1
    ) as begun
),
-- What is usual is the second most: an agent may have been at work once before.
compared as materialized (
    select
        known.day,
        known.agent_id,
        known.weeks,
        known.requests,
        coalesce(past.requests[2], 0) as usual,
        past.average,
        coalesce(past.requests[2], 0) * 100 <= past.average * %(quiet_percent)s::integer as is_quiet
    from known
    cross join lateral (
        select
            array_agg(before.requests order by before.requests desc) filter (where before.is_same) as requests,
            sum(before.requests) filter (where not before.is_same) / (6 * known.weeks) as average,
            count(*) filter (where not before.is_same) as active_days
        from (
            select ago.days %% 7 = 0 as is_same, counted.requests
            from generate_series(1, 7 * known.weeks) as ago (days)
            cross join lateral (select known.day - ago.days as day offset 0) as calendar
            cross join lateral (
                select sum(usage.requests) as requests
                from agent_usage_daily as usage
                where
                    usage.organization_id = %(organization_id)s
                    and usage.day = calendar.day
                    and usage.agent_id = known.agent_id
                having sum(usage.requests) > 0
            ) as counted
        ) as before
    ) as past
    where past.active_days >= 3 * known.weeks
),
-- An evening in the west is the next day by UTC: of an agent that only begins such a day at work, or ends it so, those
-- hours count in which, and beside which, it was at work in no more than one of the weeks. Beside: the clocks change.
judged as (
    select
        compared.day,
        compared.agent_id,
        compared.is_quiet,
        compared.average,
        case when compared.is_quiet then compared.requests else rest.requests end as requests,
        case when compared.is_quiet then compared.usual else 0 end as usual
    from compared
    left join lateral (
        select sum(clock.requests) filter (where clock.weeks <= 1) as requests
        from (
            select
                hours.requests,
                greatest(hours.weeks, lag(hours.weeks) over by_hour, lead(hours.weeks) over by_hour) as weeks
            from (
                select
                    hour.place,
                    sum(hour.requests) filter (where ago.weeks = 0) as requests,
                    count(distinct ago.weeks) filter (where ago.weeks > 0 and hour.requests > 0) as weeks
                from generate_series(0, compared.weeks) as ago (weeks)
                cross join lateral (select compared.day - 7 * ago.weeks as day offset 0) as calendar
                cross join lateral (
                    select usage.requests_by_hour
                    from agent_usage_daily as usage
                    where
                        usage.organization_id = %(organization_id)s
                        and usage.day = calendar.day
                        and usage.agent_id = compared.agent_id
                    offset 0
                ) as counted
                cross join unnest(counted.requests_by_hour) with ordinality as hour (requests, place)
                where
                    not compared.is_quiet
                    and compared.usual * 100 <= compared.average * %(part_percent)s::integer
                group by hour.place
            ) as hours
            window by_hour as (order by hours.place)
        ) as clock
    ) as rest on true
    -- Who does the same as ever, only at other hours, breaks no rest.
    where (compared.requests - compared.usual) * 100 >= compared.average * %(quiet_percent)s::integer
),
found as (
    select day, agent_id, is_quiet, requests, usual, day - dense_rank() over (order by day)::integer as run
    from judged
    where
        (requests - usual) * 100 >= average * %(quiet_percent)s::integer
        and requests - usual >= %(least_requests)s::integer
),
behind as (
    select
        found.run,
        found.agent_id,
        agents.name,
        min(found.day) as first_day,
        max(found.day) as last_day,
        bool_and(found.is_quiet) as is_quiet,
        sum(found.requests) as requests,
        sum(found.usual) as usual,
        row_number() over (partition by found.run order by sum(found.requests) desc, found.agent_id) as place
    from found
    join agents
        on agents.organization_id = %(organization_id)s
        and agents.agent_id = found.agent_id
    group by found.run, found.agent_id, agents.name
)
select
    min(first_day) as first_day,
    max(last_day) as last_day,
    bool_and(is_quiet) as is_quiet,
    count(*) as agents,
    sum(requests)::bigint as requests,
    sum(usual)::bigint as usual,
    array_agg(agent_id order by place) filter (where place <= %(most_agents)s::integer) as agent_ids,
    array_agg(name order by place) filter (where place <= %(most_agents)s::integer) as names,
    array_agg(requests::bigint order by place) filter (where place <= %(most_agents)s::integer) as counts
from behind
group by run
order by first_day
