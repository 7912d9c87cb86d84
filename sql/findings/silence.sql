-- The agents that used to be active and have stopped, and the times in which the whole organization was quiet while it
-- should not have been. One row each: agent_id and name, null for the organization; from when to when, and whether it
-- lasts; how many hours or days with activity were to be expected in it, or agents in all its hours together; the unit
-- of these, 'hours', 'days' or 'agents'; and how many there were.
-- Parameters: organization_id; at (timestamptz): now; days: how many days back an end may lie, today included; weeks:
-- how many weeks before a silence are looked at; least_weeks: how many of them an agent, or the organization, must have
-- been at work; most_weeks: how long a silence is told; sampled: by how many agents the organization is judged;
-- least_expected: how many of them make an hour in which that can be done; least_surprise: of a quiet organization,
-- least_surprise_of_hours: of an agent that works around the clock, least_surprise_of_days: of any other,
-- least_surprise_of_workdays: in the first week of one that does not work every day, the negative logarithm of a probability; least_hours, least_days: how many
-- it takes to reach these; around_the_clock: how many of the 24 hours up to its last one such an agent is active in,
-- and on average of the two days a week before; most_agents: how many of them are told.
with moment as materialized (
    select
        (%(at)s::timestamptz at time zone 'UTC')::date as today,
        date_trunc('hour', %(at)s::timestamptz at time zone 'UTC') as hour
),
-- Limits and "offset 0" keep the planner, who does not know how few days and agents these are, from joining all history.
sampled as materialized (
    select agents.agent_id
    from agents
    cross join moment
    where
        agents.organization_id = %(organization_id)s
        and agents.status = 'active'
        and agents.deleted_at is null
        and exists (
            select
            from generate_series(0, 7 * %(most_weeks)s::integer) as ago (days)
            cross join lateral (select moment.today - ago.days as day offset 0) as calendar
            cross join lateral (
                select usage.requests
                from agent_usage_daily as usage
                where
                    usage.organization_id = %(organization_id)s
                    and usage.day = calendar.day
                    and usage.agent_id = agents.agent_id
                    and usage.requests > 0
                limit 1
            ) as active
        )
    order by agents.agent_id
    limit %(sampled)s::integer
),
-- How many of the sampled agents were active in each hour. Columns, because a row an hour takes ten times as long.
hours as materialized (
    select
        calendar.day + make_interval(hours => cell.ordinal::integer - 1) as hour,
        cell.active::integer as active
    from moment
    cross join generate_series(
        0, greatest(%(days)s::integer, 7 * %(most_weeks)s::integer) + 7 * %(weeks)s::integer
    ) as ago (days)
    cross join lateral (select moment.today - ago.days as day offset 0) as calendar
    cross join lateral (
        select array[
            count(*) filter (where hour_0), count(*) filter (where hour_1), count(*) filter (where hour_2),
            count(*) filter (where hour_3), count(*) filter (where hour_4), count(*) filter (where hour_5),
            count(*) filter (where hour_6), count(*) filter (where hour_7), count(*) filter (where hour_8),
            count(*) filter (where hour_9), count(*) filter (where hour_10), count(*) filter (where hour_11),
            count(*) filter (where hour_12), count(*) filter (where hour_13), count(*) filter (where hour_14),
            count(*) filter (where hour_15), count(*) filter (where hour_16), count(*) filter (where hour_17),
            count(*) filter (where hour_18), count(*) filter (where hour_19), count(*) filter (where hour_20),
            count(*) filter (where hour_21), count(*) filter (where hour_22), count(*) filter (where hour_23)
        ] as active
        from (
            select
                bool_or(requests_by_hour[1] > 0) as hour_0, bool_or(requests_by_hour[2] > 0) as hour_1,
                bool_or(requests_by_hour[3] > 0) as hour_2, bool_or(requests_by_hour[4] > 0) as hour_3,
                bool_or(requests_by_hour[5] > 0) as hour_4, bool_or(requests_by_hour[6] > 0) as hour_5,
                bool_or(requests_by_hour[7] > 0) as hour_6, bool_or(requests_by_hour[8] > 0) as hour_7,
                bool_or(requests_by_hour[9] > 0) as hour_8, bool_or(requests_by_hour[10] > 0) as hour_9,
                bool_or(requests_by_hour[11] > 0) as hour_10, bool_or(requests_by_hour[12] > 0) as hour_11,
                bool_or(requests_by_hour[13] > 0) as hour_12, bool_or(requests_by_hour[14] > 0) as hour_13,
                bool_or(requests_by_hour[15] > 0) as hour_14, bool_or(requests_by_hour[16] > 0) as hour_15,
                bool_or(requests_by_hour[17] > 0) as hour_16, bool_or(requests_by_hour[18] > 0) as hour_17,
                bool_or(requests_by_hour[19] > 0) as hour_18, bool_or(requests_by_hour[20] > 0) as hour_19,
                bool_or(requests_by_hour[21] > 0) as hour_20, bool_or(requests_by_hour[22] > 0) as hour_21,
                bool_or(requests_by_hour[23] > 0) as hour_22, bool_or(requests_by_hour[24] > 0) as hour_23
            from agent_usage_daily as usage
            where
                usage.organization_id = %(organization_id)s
                and usage.day = calendar.day
                and usage.agent_id <= (select agent_id from sampled order by agent_id desc limit 1)
                and usage.agent_id in (select agent_id from sampled offset 0)
            group by usage.agent_id
        ) as agent
    ) as counted
    cross join lateral unnest(counted.active) with ordinality as cell (active, ordinal)
),
begun as materialized (
    select min(hour) as hour from hours where active > 0
),
judged as materialized (
    select now.hour, now.active, percentile_disc(0.5) within group (order by past.active) as usual
    from moment
    cross join hours as now
    cross join generate_series(1, %(weeks)s::integer) as ago (weeks)
    join hours as past on past.hour = now.hour - make_interval(weeks => ago.weeks)
    join begun on begun.hour <= past.hour
    where
        now.hour < moment.hour
        and now.hour >= moment.today - greatest(%(days)s::integer, 7 * %(most_weeks)s::integer)
    group by now.hour, now.active
    having count(*) >= %(least_weeks)s::integer
),
-- The hours in which enough of them are to be expected, and whether most of these were quiet.
busy as materialized (
    select
        hour,
        active,
        usual,
        active * 2 < usual as is_quiet,
        row_number() over (order by hour)
            - row_number() over (partition by active * 2 < usual order by hour) as run
    from judged
    where usual >= %(least_expected)s::integer
),
runs as (
    select
        min(hour) as first_hour,
        max(hour) as last_hour,
        sum(active) as active,
        sum(usual) as usual,
        -- Poisson's: how unlikely so few are where so many are usual.
        sum(usual - active + coalesce(active * ln(nullif(active, 0)::float8 / usual), 0)) as surprise
    from busy
    where is_quiet
    group by run
),
-- A holiday comes and goes with the rest before and after it, what is broken in the midst of work.
beside as (
    select
        runs.*,
        exists (
            select
            from hours
            join busy on busy.hour = runs.first_hour
            where
                hours.hour < runs.first_hour
                and hours.hour >= runs.first_hour - interval '2 hours'
                and hours.active * 3 >= busy.usual * 2
        ) as is_sudden,
        exists (
            select
            from hours
            join busy on busy.hour = runs.last_hour
            where
                hours.hour > runs.last_hour
                and hours.hour <= runs.last_hour + interval '2 hours'
                and hours.active * 3 >= busy.usual * 2
        ) as is_over,
        runs.last_hour = (select max(hour) from busy) as is_last
    from runs
    where runs.surprise >= %(least_surprise)s::float8
),
organization as (
    select
        beside.first_hour as begins,
        case when is_last and not is_over then %(at)s::timestamptz at time zone 'UTC'
        else beside.last_hour + interval '1 hour' end as ends,
        is_last and not is_over as lasts,
        beside.usual as expected,
        beside.active as observed
    from moment
    cross join beside
    where
        (beside.is_sudden or beside.is_over)
        and beside.last_hour >= moment.today - %(days)s::integer + 1
        and (
            is_last and not is_over
            -- Told as a zero day.
            or not exists (
                select
                from generate_series(
                    0, least(beside.last_hour::date, moment.today - 1) - beside.first_hour::date
                ) as after (days)
                cross join lateral (select beside.first_hour::date + after.days as day offset 0) as calendar
                where
                    not exists (
                        select
                        from usage_daily as usage
                        where
                            usage.organization_id = %(organization_id)s
                            and usage.day = calendar.day
                            and usage.tokens > 0
                    )
            )
        )
),
unknown_days as materialized (
    select hour::date as day
    from busy
    group by hour::date
    having count(*) filter (where is_quiet) * 2 >= count(*)
),
recent as materialized (
    select counted.agent_id
    from moment
    cross join generate_series(0, 1) as ago (days)
    cross join lateral (select moment.today - ago.days as day offset 0) as calendar
    cross join lateral (
        select usage.agent_id
        from agent_usage_daily as usage
        where
            usage.organization_id = %(organization_id)s
            and usage.day = calendar.day
            and 0 < any (usage.requests_by_hour[
                24 * ago.days + extract(hour from moment.hour)::integer + 1 - %(least_hours)s::integer
                : 24 * ago.days + extract(hour from moment.hour)::integer + 1
            ])
        offset 0
    ) as counted
),
candidates as materialized (
    select agents.agent_id, agents.name, moment.today - last.days as last_day
    from moment
    cross join agents
    cross join lateral (
        select ago.days
        from generate_series(0, 7 * %(most_weeks)s::integer) as ago (days)
        cross join lateral (select moment.today - ago.days as day offset 0) as calendar
        cross join lateral (
            select usage.requests
            from agent_usage_daily as usage
            where
                usage.organization_id = %(organization_id)s
                and usage.day = calendar.day
                and usage.agent_id = agents.agent_id
                and usage.requests > 0
            limit 1
        ) as active
        limit 1
    ) as last
    where
        agents.organization_id = %(organization_id)s
        and agents.status = 'active'
        and agents.deleted_at is null
        and agents.agent_id not in (select agent_id from recent)
),
-- Those that rest at this hour drop out before anybody looks at their hours one by one.
stopped as materialized (
    select
        candidates.*,
        ended.hours[1] + interval '1 hour' as since,
        (
            select count(*) from unnest(ended.hours) as active (hour) where hour > ended.hours[1] - interval '24 hours'
        ) >= %(around_the_clock)s::integer
            -- And so a week before: a leak, or a retry loop, runs day and night as well.
            and (
                select sum(cardinality(array_remove(usage.requests_by_hour, 0)))
                from agent_usage_daily as usage
                where
                    usage.organization_id = %(organization_id)s
                    and usage.day = any (last.days_a_week_before)
                    and usage.agent_id = candidates.agent_id
            ) >= 2 * %(around_the_clock)s::integer as works_around_the_clock
    from moment
    cross join candidates
    cross join lateral (
        select
            array[candidates.last_day, candidates.last_day - 1] as days,
            array[candidates.last_day - 7, candidates.last_day - 8] as days_a_week_before
        offset 0
    ) as last
    cross join lateral (
        select sum(cardinality(array_remove(usage.requests_by_hour, 0))) as hours
        from agent_usage_daily as usage
        where
            usage.organization_id = %(organization_id)s
            and usage.day = any (last.days)
            and usage.agent_id = candidates.agent_id
    ) as counted
    cross join lateral (
        select array_agg(distinct usage.day + make_interval(hours => cell.ordinal::integer - 1) order by
            usage.day + make_interval(hours => cell.ordinal::integer - 1) desc) as hours
        from agent_usage_daily as usage
        cross join lateral unnest(usage.requests_by_hour) with ordinality as cell (requests, ordinal)
        where
            usage.organization_id = %(organization_id)s
            and usage.day = any (last.days)
            and usage.agent_id = candidates.agent_id
            and cell.requests > 0
    ) as ended
    where
        counted.hours >= %(around_the_clock)s::integer
        or candidates.last_day < moment.today - %(least_days)s::integer
),
known as materialized (
    select
        stopped.*,
        least(%(weeks)s::integer, begun.days / 7) as weeks,
        (select today from moment) - stopped.last_day <= 7 and (
            select count(*)
            from generate_series(0, 13) as ago (days)
            cross join lateral (select stopped.last_day - ago.days as day offset 0) as calendar
            where
                exists (
                    select
                    from agent_usage_daily as usage
                    where
                        usage.organization_id = %(organization_id)s
                        and usage.day = calendar.day
                        and usage.agent_id = stopped.agent_id
                        and usage.requests > 0
                )
        ) < 13 as may_be_on_holiday
    from stopped
    cross join lateral (
        select ago.days
        from generate_series(7 * %(weeks)s::integer, 7 * %(least_weeks)s::integer, -1) as ago (days)
        cross join lateral (select stopped.last_day - ago.days as day offset 0) as calendar
        cross join lateral (
            select usage.requests
            from agent_usage_daily as usage
            where
                usage.organization_id = %(organization_id)s
                and usage.day = calendar.day
                and usage.agent_id = stopped.agent_id
                and usage.requests > 0
            limit 1
        ) as active
        limit 1
    ) as begun
),
clockwork as (
    select known.agent_id, known.name, known.since, missed.expected, 'hours' as unit
    from moment
    cross join (
        select * from known where works_around_the_clock order by since desc, agent_id limit %(most_agents)s::integer
    ) as known
    cross join lateral (
        select
            sum(usual.weeks / known.weeks::float8) as expected,
            sum(ln((known.weeks + 1) / (known.weeks - usual.weeks + 0.5))) as surprise
        from generate_series(known.since, moment.hour - interval '1 hour', interval '1 hour') as gone (hour)
        join (
            select
                extract(dow from counted.day) as dow,
                cell.ordinal - 1 as hour_of_day,
                count(distinct counted.day) as weeks
            from generate_series(1, 7 * known.weeks) as ago (days)
            cross join lateral (select known.last_day - ago.days as day offset 0) as calendar
            cross join lateral (
                select usage.day, usage.requests_by_hour
                from agent_usage_daily as usage
                where
                    usage.organization_id = %(organization_id)s
                    and usage.day = calendar.day
                    and usage.agent_id = known.agent_id
                offset 0
            ) as counted
            cross join lateral unnest(counted.requests_by_hour) with ordinality as cell (requests, ordinal)
            where cell.requests > 0
            group by extract(dow from counted.day), cell.ordinal
        ) as usual
            on usual.dow = extract(dow from gone.hour)
            and usual.hour_of_day = extract(hour from gone.hour)
        where gone.hour not in (select hour from busy where is_quiet)
    ) as missed
    where missed.surprise >= %(least_surprise_of_hours)s::float8
),
missed as (
    select
        known.*,
        missed.days,
        usual.weeks as active_weeks,
        usual.requests,
        max(usual.requests) over (partition by known.agent_id) as most_requests
    from moment
    cross join known
    cross join lateral (
        select gone.days %% 7 as later, count(*) as days
        from generate_series(1, moment.today - known.last_day - 1) as gone (days)
        where known.last_day + gone.days not in (select day from unknown_days)
        group by gone.days %% 7
    ) as missed
    cross join lateral (
        select count(*) as weeks, sum(counted.requests) as requests
        from generate_series(1, known.weeks) as ago (weeks)
        cross join lateral (select known.last_day + missed.later - 7 * ago.weeks as day offset 0) as calendar
        cross join lateral (
            select sum(usage.requests) as requests
            from agent_usage_daily as usage
            where
                usage.organization_id = %(organization_id)s
                and usage.day = calendar.day
                and usage.agent_id = known.agent_id
            having sum(usage.requests) > 0
        ) as counted
    ) as usual
    where
        not known.works_around_the_clock
        and usual.weeks > 0
),
-- A weekday on which an agent does less than half of its most, such as on a weekend, is none that it would miss.
resting as (
    select
        agent_id,
        name,
        since,
        sum(days * active_weeks / weeks::float8) as expected,
        'days' as unit
    from missed
    where requests * 2 >= most_requests
    group by agent_id, name, since, may_be_on_holiday
    having
        sum(days * ln((weeks + 1) / (weeks - active_weeks + 0.5))) >= case
            when may_be_on_holiday then %(least_surprise_of_workdays)s::float8
            else %(least_surprise_of_days)s::float8
        end
    order by since desc, agent_id
    limit %(most_agents)s::integer
)
select
    null::uuid as agent_id,
    null as agent_name,
    begins at time zone 'UTC' as begins,
    ends at time zone 'UTC' as ends,
    lasts,
    expected::float8 as expected,
    'agents' as unit,
    observed::float8 as observed
from organization
union all
select agent_id, name, since at time zone 'UTC', %(at)s::timestamptz, true, expected, unit, 0
from clockwork
union all
select agent_id, name, since at time zone 'UTC', %(at)s::timestamptz, true, expected, unit, 0
from resting
