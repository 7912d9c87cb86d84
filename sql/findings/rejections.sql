-- The agents that failed to authenticate far more often than usual on a UTC day among the last ones up to the day of
-- "at". A row is a run of such days without a day between: the agent; begins and ends, the first and the last hour with
-- more rejections than usual (ends is the first instant after it); rejected in these hours and all between; usual, the
-- third quartile of its earlier days' rejections, on the day of the run where it is highest; and tokens, those issued
-- meanwhile: strictly between the first and the last hour where there are more than two, else in them.
-- Parameters: organization_id; at (timestamptz): now; days: how many to look at, today included; past_days: how many
-- before a day make its baseline; least: rejections of a day; least_new: of a day of an agent that has been there for
-- fewer than settled_days; times: how many times the usual is far more.
with moment as (
    select (%(at)s::timestamptz at time zone 'UTC')::date as today
),
noticed as materialized (
    select usage.agent_id, usage.day, sum(usage.rejected) as rejected
    from agent_usage_daily as usage
    where
        usage.organization_id = %(organization_id)s
        and usage.day >= (select today - %(days)s::integer + 1 from moment)
        and usage.day < (select today + 1 from moment)
        and usage.rejected > 0
    group by usage.day, usage.agent_id
    having sum(usage.rejected) >= %(least)s::integer
),
-- An agent's rejected requests by days ago, from 0 on; null where nothing at all is counted of it.
histories as materialized (
    select agent_ids.agent_id, array_agg(usage.rejected order by ago.days) as rejected
    from (select distinct agent_id from noticed) as agent_ids
    cross join generate_series(0, %(days)s::integer + %(past_days)s::integer - 1) as ago (days)
    cross join lateral (select (select today from moment) - ago.days as day offset 0) as calendar
    cross join lateral (
        select sum(counted.rejected) as rejected
        from agent_usage_daily as counted
        where
            counted.organization_id = %(organization_id)s
            and counted.day = calendar.day
            and counted.agent_id = agent_ids.agent_id
    ) as usage
    group by agent_ids.agent_id
),
far_more as materialized (
    select noticed.agent_id, noticed.day, past.usual
    from noticed
    join histories on histories.agent_id = noticed.agent_id
    cross join lateral (select (select today from moment) - noticed.day as days) as ago
    cross join lateral (
        select
            coalesce(percentile_disc(0.75) within group (order by coalesce(earlier.rejected, 0)), 0) as usual,
            count(*) as days
        from (
            select
                rejected,
                before,
                max(before) filter (where rejected is not null) over () as first_before
            from unnest(histories.rejected[ago.days + 2 : ago.days + 1 + %(past_days)s::integer])
                with ordinality as days (rejected, before)
        ) as earlier
        -- Nothing was counted before its first day: these are no quiet days.
        where earlier.before <= earlier.first_before
    ) as past
    where
        noticed.rejected > %(times)s::integer * past.usual
        and (past.days >= %(settled_days)s::integer or noticed.rejected >= %(least_new)s::integer)
),
hours as materialized (
    select
        far_more.agent_id,
        far_more.day,
        far_more.usual,
        clock.hour,
        sum(usage.rejected_by_hour[clock.hour + 1]) as rejected,
        sum(usage.tokens_by_hour[clock.hour + 1]) as tokens
    from far_more
    join agent_usage_daily as usage
        on usage.organization_id = %(organization_id)s
        and usage.day = far_more.day
        and usage.agent_id = far_more.agent_id
    cross join generate_series(0, 23) as clock (hour)
    group by far_more.agent_id, far_more.day, far_more.usual, clock.hour
),
in_runs as (
    select
        hours.agent_id,
        hours.usual,
        hours.rejected,
        hours.tokens,
        (hours.day + make_time(hours.hour, 0, 0)) at time zone 'UTC' as at,
        -- Days that follow one another have the same difference to their number.
        hours.day - (dense_rank() over (partition by hours.agent_id order by hours.day))::integer as run,
        hours.rejected * 24 > %(times)s::integer * hours.usual as is_far_more
    from hours
),
spanned as (
    select
        in_runs.*,
        min(in_runs.at) filter (where in_runs.is_far_more) over one_run as begins,
        max(in_runs.at) filter (where in_runs.is_far_more) over one_run as last_at
    from in_runs
    window one_run as (partition by in_runs.agent_id, in_runs.run)
)
select
    spanned.agent_id,
    agents.name as agent_name,
    agents.status = 'active' and agents.deleted_at is null as is_active,
    spanned.begins,
    spanned.last_at + interval '1 hour' as ends,
    sum(spanned.rejected)::bigint as rejected,
    max(spanned.usual) as usual,
    coalesce(
        case
            when spanned.last_at - spanned.begins > interval '1 hour' then
                sum(spanned.tokens) filter (where spanned.at > spanned.begins and spanned.at < spanned.last_at)
            else sum(spanned.tokens)
        end,
        0
    )::bigint as tokens
from spanned
join agents
    on agents.organization_id = %(organization_id)s
    and agents.agent_id = spanned.agent_id
where spanned.at >= spanned.begins and spanned.at <= spanned.last_at
group by spanned.agent_id, agents.name, agents.status, agents.deleted_at, spanned.begins, spanned.last_at
order by spanned.begins, spanned.agent_id
