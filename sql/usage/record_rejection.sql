-- Counts a failed authentication. The agent is counted too. Unknown clients share one agent_id, so that invented ids
-- add no row. Returns no row.
-- Parameters: organization_id; agent_id; day and hour: of the failure in UTC.
with taken as materialized (
    select take_slot(%(organization_id)s::text) as slot
),
organization_usage as (
    insert into usage_daily as usage
        (organization_id, day, slot, tokens, tokens_by_hour, requests_by_hour, rejected_by_hour)
    select %(organization_id)s, %(day)s::date, slot, 0, count_nothing(), count_nothing(), count_at(%(hour)s::integer)
    from taken
    on conflict (organization_id, day, slot) do update
    set rejected_by_hour[%(hour)s::integer + 1] = usage.rejected_by_hour[%(hour)s::integer + 1] + 1
)
insert into agent_usage_daily as usage
    (
        organization_id, day, agent_id, slot, tokens, requests, rejected,
        tokens_by_hour, requests_by_hour, rejected_by_hour
    )
select
    %(organization_id)s, %(day)s::date, %(agent_id)s::uuid, slot, 0, 0, 1,
    count_nothing(), count_nothing(), count_at(%(hour)s::integer)
from taken
on conflict (organization_id, day, agent_id, slot) do update
set
    rejected = usage.rejected + 1,
    rejected_by_hour[%(hour)s::integer + 1] = usage.rejected_by_hour[%(hour)s::integer + 1] + 1
