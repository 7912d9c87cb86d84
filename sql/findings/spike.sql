-- The hours in which an agent, or the organization, was issued far more tokens than usual, among the last UTC days up to
-- that of "at", its running hour included. A row is a run of such hours with no more than a day from one to the next:
-- the agent, null where it is the organization; begins and ends; of its far fuller hours, how many there are, and the
-- tokens, usual and most (the fullest one's) of them; top, the usual fullest hour of a day; and for the organization
-- behind_it, the few agents whose tokens in these hours grew most against the week before (jsonb, with the count).
-- A day's past are the days from "weeks" weeks to one week before it, from the first with a token on. Of their sums, and
-- of their fullest hours, there are the median and "high", the 95th percentile, and a limit, the greatest of
-- top_times * high, high + spread * (high - median) and high + least. An hour is far fuller where it exceeds the limit of
-- hours and "times" its usual; or where its day without such hours exceeds the limit of days and "times" its usual, and
-- the hour "times" its own; or where it is odd, as are at least odd_hours of its day that exceed by "least" together: it
-- exceeds "times" the most of any day of a past of at least odd_days, at that hour or one beside it; or where it exceeds
-- "times" its usual on an agent's steady day: steady_hours of steady_span hours in a row, the last one of that day,
-- exceed "times" their usual and the average of the past's hours with a token, and each of them top_times what as many
-- of any such hours of the past had. Usual is the median of the past's same weekdays, for an hour of the same hour or of
-- the one before or after it, whichever is most.
-- In the last and the first three days of a month an hour also exceeds top_times the most of that past's such days.
-- Who has fewer than settled_days of a past, or no token in the week that begins two weeks before, has none. The
-- organization's hours do not count where at least half of the excess lies in its agents' spikes, or in what agents
-- without a past were issued, up to least_new tokens an hour each. Nor does a run that does not exceed by "least".
-- Parameters: organization_id; at (timestamptz): now; days: how many to look at, today included; weeks; times;
-- top_times; spread; odd_hours; odd_days; steady_hours; steady_span; least, least_new: tokens; settled_days; most_days:
-- of agents, judged by their whole past; most_agents: in behind_it.
with moment as (
    select
        (%(at)s::timestamptz at time zone 'UTC')::date as today,
        -- Stands for the organization among its agents: no agent's id is nil.
        '00000000-0000-0000-0000-000000000000'::uuid as organization
),
recent_days as materialized (
    select ago.days as ago, day.agent_id, day.tokens, day.fullest
    from generate_series(0, (%(days)s::integer - 1) / 7 * 7 + 20) as ago (days)
    cross join lateral (select (select today from moment) - ago.days as day offset 0) as calendar
    cross join lateral (
        select
            usage.agent_id,
            sum(usage.tokens::double precision) as tokens,
            sum(
                case
                    when usage.slot > 0 or %(least)s::integer / 2 <= any (usage.tokens_by_hour)
                        then (select max(hour.tokens) from unnest(usage.tokens_by_hour) as hour (tokens))
                    else 0
                end
            ) as fullest
        from agent_usage_daily as usage
        where
            usage.organization_id = %(organization_id)s
            and usage.day = calendar.day
            and usage.tokens > 0
        group by usage.agent_id
        union all
        select
            (select organization from moment),
            sum(usage.tokens::double precision),
            sum((select max(hour.tokens) from unnest(usage.tokens_by_hour) as hour (tokens)))
        from usage_daily as usage
        where
            usage.organization_id = %(organization_id)s
            and usage.day = calendar.day
            and usage.tokens > 0
        having count(*) > 0
    ) as day
    where ago.days < %(days)s::integer or ago.days >= 14
),
recent_weeks as materialized (
    select
        ago / 7 as ago,
        agent_id,
        (array_agg(tokens order by tokens desc))[2] as second,
        (array_agg(fullest order by fullest desc))[2] as second_fullest
    from recent_days
    where ago >= 14
    group by ago / 7, agent_id
),
-- The whole past costs a hundred times as much to read, so only for a day, or fullest hour, that would be far fuller
-- if the second one of the week two weeks before were "high": hardly ever does a week have two of the top three. Odd
-- and steady hours are not looked for on other days; half of "least" is enough, since midnight may halve them. Of a huge
-- organization, those that exceed it most.
candidates as materialized (
    select day.agent_id, (select today from moment) - day.ago as day
    from recent_days as day
    join recent_weeks as earlier
        on earlier.agent_id = day.agent_id
        and earlier.ago = day.ago / 7 + 2
    where
        day.ago < %(days)s::integer
        and (
            day.tokens > greatest(
                %(top_times)s::double precision * earlier.second, coalesce(earlier.second, 0) + %(least)s::integer / 2
            )
            or day.fullest > greatest(
                %(top_times)s::double precision * earlier.second_fullest,
                coalesce(earlier.second_fullest, 0) + %(least)s::integer
            )
        )
    order by
        day.agent_id = (select organization from moment) desc,
        greatest(day.tokens / (1 + earlier.second), day.fullest / (1 + earlier.second_fullest)) desc nulls first
    limit %(most_days)s::integer
),
-- By day from the oldest on, the last one the candidate: the tokens of its hours, its tokens, its fullest hour's.
histories as materialized (
    select
        candidates.agent_id,
        candidates.day,
        array_agg(counted.hours order by ago.days desc) as hours,
        array_agg(counted.tokens order by ago.days desc) as tokens,
        array_agg(fullest.tokens order by ago.days desc) as fullest
    from candidates
    -- One more than the past, so that its first hour has a neighbour.
    cross join generate_series(0, 7 * %(weeks)s::integer + 1) as ago (days)
    cross join lateral (select candidates.day - ago.days as day offset 0) as calendar
    cross join lateral (
        select
            coalesce(sum(slot.tokens), 0)::bigint as tokens,
            case count(*)
                when 0 then count_nothing()
                when 1 then min(slot.tokens_by_hour)
                else (
                    select array_agg(clock.tokens order by clock.hour)
                    from (
                        select (each.place - 1) %% 24 as hour, sum(each.tokens)::integer as tokens
                        from unnest(array_agg(slot.tokens_by_hour)) with ordinality as each (tokens, place)
                        group by 1
                    ) as clock
                )
            end as hours
        from (
            select usage.tokens, usage.tokens_by_hour
            from agent_usage_daily as usage
            where
                usage.organization_id = %(organization_id)s
                and usage.day = calendar.day
                and usage.agent_id = candidates.agent_id
            union all
            select usage.tokens, usage.tokens_by_hour
            from usage_daily as usage
            where
                usage.organization_id = %(organization_id)s
                and usage.day = calendar.day
                and candidates.agent_id = (select organization from moment)
        ) as slot
    ) as counted
    cross join lateral (select max(hour.tokens) as tokens from unnest(counted.hours) as hour (tokens)) as fullest
    group by candidates.agent_id, candidates.day
),
days as materialized (
    select
        histories.*,
        today.place as today,
        past.first_place + 1 as first_place,
        past.fullest[2] as top,
        greatest(
            %(top_times)s::double precision * past.fullest[2],
            past.fullest[2] + %(spread)s::double precision * (past.fullest[2] - past.fullest[1]),
            past.fullest[2] + %(least)s::integer
        ) as limit_of_hour,
        greatest(
            %(top_times)s::double precision * past.tokens[2],
            past.tokens[2] + %(spread)s::double precision * (past.tokens[2] - past.tokens[1]),
            past.tokens[2] + %(least)s::integer
        ) as limit_of_day
    from histories
    cross join lateral (select 7 * %(weeks)s::integer + 2 as place) as today
    cross join lateral (
        select
            min(day.place) as first_place,
            count(*) as days,
            percentile_cont(array[0.5, 0.95]) within group (order by day.tokens) as tokens,
            percentile_cont(array[0.5, 0.95]) within group (order by day.fullest) as fullest
        from (
            select each.*, min(each.place) filter (where each.tokens > 0) over () as first_place
            from unnest(histories.tokens[2 : today.place - 7], histories.fullest[2 : today.place - 7])
                with ordinality as each (tokens, fullest, place)
        ) as day
        where day.place >= day.first_place
    ) as past
    where past.days >= %(settled_days)s::integer
),
hours as materialized (
    select
        days.agent_id,
        days.day,
        clock.hour,
        counted.tokens,
        usual.tokens as usual,
        days.top,
        days.tokens[days.today] as tokens_of_day,
        usual_day.tokens as usual_of_day,
        days.limit_of_day,
        turns.most as most_at_turns,
        counted.tokens > greatest(days.limit_of_hour, %(times)s::double precision * usual.tokens)
            or (
                odd.is_spike
                and counted.tokens > odd.mosts[clock.hour + 1]
                and counted.tokens > %(times)s::double precision * usual.tokens
            ) as is_far_fuller,
        steady.is_possible
            and counted.tokens > greatest(%(times)s::double precision * usual.tokens, odd.average) as is_full
    from days
    cross join lateral (
        select
            count(*) filter (where each.tokens > each.most) >= %(odd_hours)s::integer
                and sum(greatest(each.tokens - each.most, 0)) >= %(least)s::integer
                and days.today - 7 - days.first_place + 1 >= %(odd_days)s::integer as is_spike,
            array_agg(each.most order by each.hour) as mosts,
            sum(each.total) / nullif(sum(each.active), 0) as average
        from (
            select
                seen.hour,
                seen.total,
                seen.active,
                days.hours[days.today][seen.hour + 1] as tokens,
                %(times)s::double precision * greatest(
                    seen.most,
                    lag(seen.most, 1, seen.last) over (order by seen.hour),
                    lead(seen.most, 1, seen.first) over (order by seen.hour)
                ) as most
            from (
                select
                    each_hour.hour,
                    each_hour.most,
                    each_hour.total,
                    each_hour.active,
                    first_value(each_hour.most) over (order by each_hour.hour) as first,
                    first_value(each_hour.most) over (order by each_hour.hour desc) as last
                from (
                    select
                        (past.place - 1) %% 24 as hour,
                        max(past.tokens) as most,
                        sum(past.tokens) as total,
                        count(*) filter (where past.tokens > 0) as active
                    from unnest(days.hours[days.first_place : days.today - 7]) with ordinality as past (tokens, place)
                    group by 1
                ) as each_hour
            ) as seen
        ) as each
    ) as odd
    cross join lateral (
        select percentile_cont(0.5) within group (order by days.tokens[same_weekday.place]) as tokens
        from generate_series(2, days.today - 7, 7) as same_weekday (place)
        where same_weekday.place >= days.first_place
    ) as usual_day
    -- What exceeds a median of eight exceeds the least of any five of them: that spares most medians.
    cross join lateral (
        select
            days.agent_id <> (select organization from moment)
                and count(*) >= %(steady_hours)s::integer as is_possible
        from unnest(
            days.hours[days.today - 1 : days.today],
            days.hours[days.today - 8 : days.today - 7],
            days.hours[days.today - 15 : days.today - 14],
            days.hours[days.today - 22 : days.today - 21],
            days.hours[days.today - 29 : days.today - 28],
            days.hours[days.today - 36 : days.today - 35]
        ) with ordinality as each (tokens, week_ago, weeks_ago_2, weeks_ago_3, weeks_ago_4, weeks_ago_5, place)
        where
            each.place > 25 - %(steady_span)s::integer
            and each.tokens > odd.average
            and each.tokens > %(times)s::double precision
                * least(each.week_ago, each.weeks_ago_2, each.weeks_ago_3, each.weeks_ago_4, each.weeks_ago_5)
    ) as steady
    -- Steady hours may have begun on the evening before.
    cross join generate_series(
        case when steady.is_possible then 1 - %(steady_span)s::integer else 0 end, 23
    ) as clock (hour)
    cross join lateral (
        select days.hours[days.today + (clock.hour - 23) / 24][1 + (clock.hour + 24) %% 24] as tokens
    ) as counted
    cross join lateral (
        select max(neighbour.tokens) as tokens
        from (
            select percentile_cont(0.5) within group (
                order by days.hours[1 + moved.hour / 24][1 + moved.hour %% 24]
            ) as tokens
            from generate_series(-1, 1) as shift (hours)
            cross join generate_series(2, days.today - 7, 7) as same_weekday (place)
            cross join lateral (
                select 24 * (same_weekday.place - 1) + clock.hour + shift.hours as hour
            ) as moved
            where same_weekday.place >= days.first_place
            group by shift.hours
        ) as neighbour
    ) as usual
    -- At the turn of the month, three days on either side, the turns before it count, as few as they are.
    cross join lateral (
        select max(beside.tokens) as most
        from generate_series(days.first_place, days.today - 7) as turn (place)
        cross join lateral unnest(
            days.hours[turn.place : turn.place][greatest(clock.hour, 1) : least(clock.hour + 2, 24)]
        ) as beside (tokens)
        where
            extract(day from days.day + 3) <= 6
            and extract(day from days.day - (days.today - turn.place)::integer + 3) <= 6
    ) as turns
    where
        days.fullest[days.today] > days.limit_of_hour
        or days.tokens[days.today] > days.limit_of_day
        or odd.is_spike
        or steady.is_possible
),
-- A burst fills an hour or two; whoever else uses a credential, takes much in each.
steady as materialized (
    select spans.agent_id, spans.day
    from (
        select each.agent_id, each.day, max(fewest.tokens) as fewest
        from (
            select
                hours.agent_id,
                hours.day,
                hours.hour,
                count(*) filter (where hours.is_full) over span as full_hours,
                array_agg(case when hours.is_full then hours.tokens else 0 end) over span as tokens
            from hours
            window span as (
                partition by hours.agent_id, hours.day
                order by hours.hour
                rows between %(steady_span)s::integer - 1 preceding and current row
            )
        ) as each
        cross join lateral (
            select hour.tokens
            from unnest(each.tokens) as hour (tokens)
            order by hour.tokens desc
            offset %(steady_hours)s::integer - 1
            limit 1
        ) as fewest
        where
            each.hour >= 0
            and each.full_hours >= %(steady_hours)s::integer
        group by each.agent_id, each.day
    ) as spans
    join days
        on days.agent_id = spans.agent_id
        and days.day = spans.day
    where
        not exists (
            select
            from (
                select
                    count(*) filter (where %(top_times)s::double precision * past.tokens >= spans.fewest) over (
                        order by past.place rows between %(steady_span)s::integer - 1 preceding and current row
                    ) as full_hours
                from unnest(days.hours[days.first_place : days.today - 7]) with ordinality as past (tokens, place)
            ) as before
            where before.full_hours >= %(steady_hours)s::integer
        )
),
far_fuller as materialized (
    select judged.agent_id, judged.day, judged.hour, judged.tokens, judged.usual, judged.top
    from (
        select
            hours.*,
            hours.tokens_of_day - coalesce(
                sum(hours.tokens - hours.usual) filter (where hours.is_far_fuller) over (
                    partition by hours.agent_id, hours.day
                ),
                0
            ) as rest_of_day,
            steady.day is not null as is_steady
        from hours
        left join steady
            on steady.agent_id = hours.agent_id
            and steady.day = hours.day
        where hours.hour >= 0
    ) as judged
    where
        (
            judged.is_far_fuller
            or (
                (
                    judged.is_steady
                    or judged.rest_of_day
                    > greatest(judged.limit_of_day, %(times)s::double precision * judged.usual_of_day)
                )
                and judged.tokens > %(times)s::double precision * judged.usual
            )
        )
        and judged.tokens > %(top_times)s::double precision * coalesce(judged.most_at_turns, 0)
),
-- What lies behind an hour of the organization: its agents' spikes, and new agents.
explained as materialized (
    select behind.day, behind.hour, sum(behind.tokens) as tokens
    from (
        select day, hour, tokens - usual as tokens
        from far_fuller
        where agent_id <> (select organization from moment)
        union all
        select new.day, clock.hour, least(sum(counted.tokens_by_hour[clock.hour + 1]), %(least_new)s::integer)
        from (
            select spiking.day, recent.agent_id
            from (select distinct day from far_fuller where agent_id = (select organization from moment)) as spiking
            join recent_days as recent
                on recent.ago = (select today from moment) - spiking.day
                and recent.tokens >= %(least)s::integer
            left join recent_weeks as earlier
                on earlier.agent_id = recent.agent_id
                and earlier.ago = recent.ago / 7 + 2
            where earlier.agent_id is null
            offset 0
        ) as new
        cross join lateral (
            select usage.tokens_by_hour
            from agent_usage_daily as usage
            where
                usage.organization_id = %(organization_id)s
                and usage.day = new.day
                and usage.agent_id = new.agent_id
            offset 0
        ) as counted
        cross join generate_series(0, 23) as clock (hour)
        group by new.day, new.agent_id, clock.hour
    ) as behind
    group by behind.day, behind.hour
),
told as (
    select
        nullif(far_fuller.agent_id, (select organization from moment)) as agent_id,
        (far_fuller.day + make_time(far_fuller.hour, 0, 0)) at time zone 'UTC' as at,
        far_fuller.tokens,
        far_fuller.usual,
        far_fuller.top
    from far_fuller
    left join explained
        on explained.day = far_fuller.day
        and explained.hour = far_fuller.hour
    where
        far_fuller.agent_id <> (select organization from moment)
        or 2 * coalesce(explained.tokens, 0) < far_fuller.tokens - far_fuller.usual
),
begun as (
    select
        told.*,
        told.at - lag(told.at) over (partition by told.agent_id order by told.at) > interval '1 day' as is_new
    from told
),
numbered as (
    select begun.*, count(*) filter (where begun.is_new) over (partition by begun.agent_id order by begun.at) as run
    from begun
),
runs as (
    select
        agent_id,
        min(at) as begins,
        max(at) + interval '1 hour' as ends,
        array_agg(at at time zone 'UTC') as each_hour,
        count(*) as hours,
        sum(tokens)::bigint as tokens,
        sum(usual) as usual,
        max(tokens) as most,
        max(top) as top
    from numbered
    group by agent_id, run
    having sum(tokens) - sum(usual) >= %(least)s::integer
)
select
    runs.agent_id,
    agents.name as agent_name,
    runs.begins,
    runs.ends,
    runs.hours,
    runs.tokens,
    runs.usual,
    runs.most,
    runs.top,
    behind_it.agents as behind_it
from runs
left join agents
    on agents.organization_id = %(organization_id)s
    and agents.agent_id = runs.agent_id
left join lateral (
    select
        jsonb_agg(
            jsonb_build_object('agent_id', grown.agent_id, 'agent_name', agents.name, 'count', grown.tokens)
            order by grown.more desc, grown.agent_id
        ) as agents
    from (
        select
            usage.agent_id,
            sum(counted.tokens) filter (where week.ago = 0) as tokens,
            sum(counted.tokens * (1 - 2 * week.ago)) as more
        from unnest(runs.each_hour) as hour (at)
        cross join generate_series(0, 1) as week (ago)
        join agent_usage_daily as usage
            on usage.organization_id = %(organization_id)s
            and usage.day = hour.at::date - 7 * week.ago
        cross join lateral (
            select usage.tokens_by_hour[extract(hour from hour.at)::integer + 1] as tokens
        ) as counted
        -- Here and not at the join, so that all agents' hours are read for the organization's runs alone.
        where runs.agent_id is null
        group by usage.agent_id
        having sum(counted.tokens * (1 - 2 * week.ago)) > 0
        order by more desc, usage.agent_id
        limit %(most_agents)s::integer
    ) as grown
    join agents
        on agents.organization_id = %(organization_id)s
        and agents.agent_id = grown.agent_id
) as behind_it on true
order by runs.begins, runs.agent_id
