-- The quotas of an organization and of its agents, with what was used of each in its window at this instant. One row a quota:
-- agent_id and agent_name, null for a quota of the organization; quota_window: hour, day or month; tokens; is_enforced; used:
-- the tokens issued in the window; refused and observed: the tokens that the quota has refused in it, and those that it would
-- have refused if it had been enforced. By agent_id, the organization's first. Deleted agents are left out.
-- Parameters: organization_id; day; hour; agent_id: whose quotas, nil for the organization's own, null for all.
--
-- pages: 500, all of the organization's quotas, and each day of the month for a quota a month whose sum is not kept
with listed as materialized (
    select
        quotas.agent_id,
        agents.name as agent_name,
        quotas.quota_window,
        quotas.tokens,
        quotas.is_enforced,
        -- What a token has summed already is not summed again.
        case when quotas.quota_window = 'month' and quotas.other_days_of = %(day)s::date then quotas.other_days end as kept,
        case
            when quotas.quota_window = 'month' and quotas.other_days_of is distinct from %(day)s::date then array(
                select date_trunc('month', %(day)s::date::timestamp)::date + since.days
                from generate_series(0, 30) as since (days)
                where
                    date_trunc('month', (date_trunc('month', %(day)s::date::timestamp)::date + since.days)::timestamp)
                    = date_trunc('month', %(day)s::date::timestamp)
            )
            else array[%(day)s::date]
        end as days
    from quotas
    left join agents
        on agents.organization_id = %(organization_id)s
        and agents.agent_id = quotas.agent_id
    where
        quotas.organization_id = %(organization_id)s
        and (%(agent_id)s::uuid is null or quotas.agent_id = %(agent_id)s::uuid)
        and coalesce(agents.deleted_at, 'infinity') = 'infinity'
)
select
    nullif(listed.agent_id, '00000000-0000-0000-0000-000000000000') as agent_id,
    listed.agent_name,
    listed.quota_window,
    listed.tokens,
    listed.is_enforced,
    (coalesce(usage.tokens, 0) + coalesce(listed.kept, 0))::bigint as used,
    coalesce(refusals.refused, 0)::bigint as refused,
    coalesce(refusals.observed, 0)::bigint as observed
from listed
cross join lateral (
    select sum(case when listed.quota_window = 'hour' then usage.tokens_by_hour[%(hour)s::integer + 1] else usage.tokens end) as tokens
    from unnest(listed.days) as in_window (day)
    cross join lateral (
        select tokens, tokens_by_hour
        from agent_usage_daily
        where organization_id = %(organization_id)s and day = in_window.day and agent_id = listed.agent_id
        union all
        select tokens, tokens_by_hour
        from usage_daily
        where organization_id = %(organization_id)s and day = in_window.day and listed.agent_name is null
        offset 0
    ) as usage
) as usage
cross join lateral (
    select
        sum(hours.refused) as refused,
        sum(hours.observed) as observed
    from quota_refusals_daily as counted
    cross join lateral unnest(counted.refused_by_hour, counted.observed_by_hour)
        with ordinality as hours (refused, observed, ordinal)
    where
        counted.organization_id = %(organization_id)s
        and counted.day between
            case
                when listed.quota_window = 'month' then date_trunc('month', %(day)s::date::timestamp)::date
                else %(day)s::date
            end
            and %(day)s::date
        and (listed.agent_name is null or counted.agent_id = listed.agent_id)
        and counted.holder = case when listed.agent_name is null then 'organization' else 'agent' end
        and counted.quota_window = listed.quota_window
        and (listed.quota_window <> 'hour' or hours.ordinal = %(hour)s::integer + 1)
) as refusals
order by listed.agent_id, array_position(array['hour', 'day', 'month'], listed.quota_window)
