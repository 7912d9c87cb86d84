-- Returns the quotas of which at least "percent" is used, of the organization and of agents that are not deleted. One row per
-- quota, sorted by agent_id: agent_id and agent_name (null: a quota of the organization); quota_window: hour, day or month;
-- tokens: the quota; is_enforced; used: the tokens issued in the current window; passed_on: the day on which a monthly quota
-- reached the percentage or, if it is used up, 100 percent (null for other quotas).
-- Parameters: organization_id; day and hour: the current day and hour in UTC; percent.
--
-- max-pages-read: 80000, for three quotas of each of a thousand agents, and the days of a month whose sums are not stored
with today as materialized (
    select
        quotas.agent_id,
        agents.name as agent_name,
        quotas.quota_window,
        quotas.tokens,
        quotas.is_enforced,
        array(
            select %(day)s::date - ago.days
            from generate_series(1, extract(day from %(day)s::date)::integer - 1) as ago (days)
        ) as days_before,
        case when quotas.quota_window = 'hour' then usage.in_hour else usage.in_day end as used,
        -- The tokens on the month's other days, or 0 if the quota is not per month. If this sum is not stored, it is null, and
        -- the daily counters are read below.
        case
            when quotas.quota_window <> 'month' then 0
            when quotas.other_days_of = %(day)s::date then quotas.other_days
        end as other_days
    from quotas
    left join agents
        on agents.organization_id = %(organization_id)s
        and agents.agent_id = quotas.agent_id
    cross join lateral (
        select
            coalesce(sum(counted.tokens), 0) as in_day,
            coalesce(sum(counted.tokens_by_hour[%(hour)s::integer + 1]), 0) as in_hour
        from (
            select tokens, tokens_by_hour
            from agent_usage_daily
            where organization_id = %(organization_id)s and day = %(day)s::date and agent_id = quotas.agent_id
            union all
            select tokens, tokens_by_hour
            from usage_daily
            where organization_id = %(organization_id)s and day = %(day)s::date and agents.agent_id is null
        ) as counted
    ) as usage
    where
        quotas.organization_id = %(organization_id)s
        and coalesce(agents.deleted_at, 'infinity') = 'infinity'
)

select
    nullif(today.agent_id, '00000000-0000-0000-0000-000000000000') as agent_id,
    today.agent_name,
    today.quota_window,
    today.tokens,
    today.is_enforced,
    in_window.used,
    passed.passed_on
from today
cross join lateral (
    -- This select looks up each day by its key, because reading a range of days would read the rows of all agents.
    select (today.used + coalesce(today.other_days, sum(other_days.tokens), 0))::bigint as used
    from unnest(case when today.other_days is null then today.days_before end) as ago (day)
    cross join lateral (
        select tokens
        from agent_usage_daily
        where organization_id = %(organization_id)s and day = ago.day and agent_id = today.agent_id
        union all
        select tokens
        from usage_daily
        where organization_id = %(organization_id)s and day = ago.day and today.agent_name is null
        offset 0
    ) as other_days
) as in_window
left join lateral (
    -- The first day on which the month's tokens reached the percentage: today, unless they reached it on an earlier day.
    select coalesce(min(summed.day), %(day)s::date) as passed_on
    from (
        select counted.day, sum(counted.tokens) over (order by counted.day) as tokens
        from unnest(today.days_before) as ago (day)
        cross join lateral (
            select day, tokens
            from agent_usage_daily
            where organization_id = %(organization_id)s and day = ago.day and agent_id = today.agent_id
            union all
            select day, tokens
            from usage_daily
            where organization_id = %(organization_id)s and day = ago.day and today.agent_name is null
            offset 0
        ) as counted
    ) as summed
    where
        summed.tokens * 100
        >= today.tokens * case when in_window.used >= today.tokens then 100 else %(percent)s::bigint end
) as passed on today.quota_window = 'month'
where in_window.used * 100 >= today.tokens * %(percent)s::bigint
order by today.agent_id
