-- Returns one row per agent that a provisioning rule created, and that requested no token and was not changed for the number of
-- days in its rule: agent_id, last_seen_at, expires_after_days. Leaves out suspended agents.
-- If a deleted agent's subject requests a token again, it gets a new agent without the old agent's limits. So an agent with a
-- limit is left out: its rule of trust is revoked, somebody has set its quota, or it was active in its quota's current window.
-- Parameters: organization_id; at (timestamptz); day; max_rows.
--
-- max-pages-read: 800, for the credentials and quotas of each agent that a rule has created
-- example: max_rows=100
select agents.agent_id, seen.last_seen_at, agents.expires_after_days
from (
    select
        agent_id,
        created_at,
        updated_at,
        provisioned ->> 'subject' as subject,
        (provisioned ->> 'expiresAfterDays')::integer as expires_after_days,
        -- The longest window in which the agent has a quota. A quota per hour is treated like a quota per day.
        case when quotas[3] is not null then 'month' when quotas is not null then 'day' end as quota_window
    from agents
    where
        organization_id = %(organization_id)s
        and provisioned is not null
        and deleted_at is null
        and status = 'active'
        and provisioned_selector is not null
        and provisioned ->> 'expiresAfterDays' is not null
) as agents
cross join lateral (
    select
        greatest(agents.updated_at, max(last_used_at)) as last_seen_at,
        bool_or(trust ->> 'subject' = agents.subject) as is_trusting
    from credentials
    where organization_id = %(organization_id)s and agent_id = agents.agent_id and revoked_at is null
    offset 0
) as seen
where
    seen.is_trusting
    and seen.last_seen_at < %(at)s::timestamptz - make_interval(days => agents.expires_after_days)
    and (
        agents.quota_window is null
        -- last_used_at may be up to a minute too early, because it is updated at most once per minute.
        or seen.last_seen_at
            < date_trunc(agents.quota_window, %(day)s::date::timestamp) at time zone 'UTC' - interval '1 minute'
    )
    and not exists (
        select
        from quotas
        where
            quotas.organization_id = %(organization_id)s and quotas.agent_id = agents.agent_id
            and quotas.updated_at > agents.created_at
    )
order by seen.last_seen_at, agents.agent_id
limit %(max_rows)s
