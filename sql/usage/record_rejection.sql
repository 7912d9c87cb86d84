-- Counts a failed authentication at "at". The agent is counted too where it is known; clients that are not known
-- share one agent_id, so that invented ids add no row. Returns no row.
-- Parameters: organization_id; agent_id; at (timestamptz).
with moment as (
    select
        (%(at)s::timestamptz at time zone 'UTC')::date as day,
        extract(hour from %(at)s::timestamptz at time zone 'UTC')::integer as hour
),
taken as materialized (
    select take_slot(%(organization_id)s::text) as slot
),
organization_usage as (
    insert into usage_daily as usage
        (organization_id, day, slot, tokens, tokens_by_hour, requests_by_hour, rejected_by_hour)
    select %(organization_id)s, day, slot, 0, count_nothing(), count_nothing(), count_at(hour)
    from taken
    cross join moment
    on conflict (organization_id, day, slot) do update
    set rejected_by_hour[(select hour + 1 from moment)] =
        usage.rejected_by_hour[(select hour + 1 from moment)] + 1
)
insert into agent_usage_daily as usage
    (
        organization_id, day, agent_id, slot, tokens, requests, rejected,
        tokens_by_hour, requests_by_hour, rejected_by_hour
    )
select
    %(organization_id)s, day, %(agent_id)s::uuid, slot, 0, 0, 1,
    count_nothing(), count_nothing(), count_at(hour)
from taken
cross join moment
on conflict (organization_id, day, agent_id, slot) do update
set
    rejected = usage.rejected + 1,
    rejected_by_hour[(select hour + 1 from moment)] =
        usage.rejected_by_hour[(select hour + 1 from moment)] + 1
