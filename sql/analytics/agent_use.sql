-- Returns an agent's tokens in a period, one row per credential, resource and UTC day with tokens: credential_id; resource
-- (empty: our own API); on_day; hours (bigint[]): the tokens in each of the 24 hours. One more row per day with tokens has null
-- as credential_id and resource, and all tokens of that day.
-- Parameters: organization_id; agent_id; first and last: the first and the last day of the period. The statement looks up each
-- day by its key, because reading a range of days would read the rows of all agents.
--
-- max-pages-read: 500, for two look-ups per day
-- max-pages-read-with-1000-agents: 600
with calendar as (
    select %(first)s::date + ago.days as day
    from generate_series(0, %(last)s::date - %(first)s::date) as ago (days)
),
used as (
    select attributed.credential_id, attributed.resource, calendar.day, attributed.tokens_by_hour as by_hour
    from calendar
    cross join lateral (
        select usage.credential_id, usage.resource, usage.tokens_by_hour
        from credential_usage_daily as usage
        where usage.organization_id = %(organization_id)s and usage.day = calendar.day and usage.agent_id = %(agent_id)s
        offset 0
    ) as attributed
    union all
    select null, null, calendar.day, counted.tokens_by_hour
    from calendar
    cross join lateral (
        select usage.tokens_by_hour
        from agent_usage_daily as usage
        where
            usage.organization_id = %(organization_id)s and usage.day = calendar.day
            and usage.agent_id = %(agent_id)s
            and usage.tokens > 0
        offset 0
    ) as counted
)
select credential_id, resource, day as on_day, {sums_by_hour} as hours
from used
group by credential_id, resource, day
