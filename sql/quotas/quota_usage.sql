-- Returns the quotas of an organization and of its agents, except deleted agents, with the usage in each quota's current window.
-- The first token of a day stores, in a quota per month, the sum of the tokens of the month's other days.
-- One row per quota: agent_id and agent_name: null for a quota of the organization; quota_window: hour, day or month; tokens;
-- is_enforced; used: the tokens issued in the window; refused: the tokens that the quota has refused; observed: the tokens that the
-- quota would have refused if it had been enforced; count: the number of matching quotas, but without by_share only of this page.
-- Parameters: organization_id; day; hour; agent_id: the nil UUID for only the organization's quotas, an id for only the quotas of
-- this agent, null for all quotas; by_share: true sorts by the used share, greatest first, and false by agent and window, the
-- organization's quotas first; min_percent: the minimum used share, 0 without by_share; only_enforced: whether to leave out quotas
-- that only observe; limit; offset; after_id and after_place: where the previous page ended, or null: the id of the agent (the nil
-- UUID for the organization) and the window (1: hour, 2: day, 3: month).
--
-- example: by_share=false; limit=null; offset=0; after_id=null; after_place=null; min_percent=0; only_enforced=false
-- max-pages-read: 500, for all quotas of the organization, and each day of the month for a quota per month without a stored sum
with listed as materialized (
    select
        quotas.agent_id, agents.name as agent_name, quotas.quota_window, quotas.tokens, quotas.is_enforced,
        -- The tokens on the month's other days. The first token of today stores this sum. Null if it is not stored yet.
        case when quotas.quota_window = 'month' and quotas.other_days_of = %(day)s::date then quotas.other_days end as stored_sum,
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
    left join lateral (
        select name, deleted_at
        from agents
        where organization_id = %(organization_id)s and agent_id = quotas.agent_id
        -- "offset 0" makes the planner look up each agent by its key. Otherwise, a planner without statistics would read all
        -- agents for each quota.
        offset 0
    ) as agents on true
    where
        quotas.organization_id = %(organization_id)s
        -- The index scan reads only between these bounds, in which greatest() and least() ignore null parameters.
        and quotas.agent_id
            >= greatest(%(agent_id)s::uuid, %(after_id)s::uuid, nil_uuid())
        and quotas.agent_id <= least(%(agent_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
        and (quotas.agent_id, array_position(array['hour', 'day', 'month'], quotas.quota_window)) > (
            greatest(%(after_id)s::uuid, nil_uuid()), greatest(%(after_place)s::integer, 0)
        )
        and is_not_deleted(agents.deleted_at)
    order by quotas.agent_id, array_position(array['hour', 'day', 'month'], quotas.quota_window)
    limit case when not %(by_share)s::boolean then %(limit)s::integer end
)
select
    nullif(listed.agent_id, nil_uuid()) as agent_id,
    listed.agent_name,
    listed.quota_window,
    listed.tokens,
    listed.is_enforced,
    (coalesce(usage.tokens, 0) + coalesce(listed.stored_sum, 0))::bigint as used,
    coalesce(refusals.refused, 0)::bigint as refused,
    coalesce(refusals.observed, 0)::bigint as observed,
    count(*) over () as count
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
    select sum(hours.refused) as refused, sum(hours.observed) as observed
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
where
    (coalesce(usage.tokens, 0) + coalesce(listed.stored_sum, 0)) * 100 >= %(min_percent)s::bigint * listed.tokens
    and (listed.is_enforced or not %(only_enforced)s::boolean)
order by
    case
        when %(by_share)s::boolean
            then (coalesce(usage.tokens, 0) + coalesce(listed.stored_sum, 0))::double precision / listed.tokens
    end desc,
    listed.agent_id,
    array_position(array['hour', 'day', 'month'], listed.quota_window)
limit %(limit)s::integer offset %(offset)s::integer
