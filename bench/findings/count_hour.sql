-- Counts usage in an hour, of all agents of an organization, in both counters, as requests one by one would. Returns no
-- row. Parameters: organization_id; day (date); hour (integer); and arrays of one length, an element an agent:
-- agent_ids (uuid[]); tokens, requests, rejected (integer[]).
with counted as materialized (
    select agent_id, tokens, requests, rejected
    from unnest(
        %(agent_ids)s::uuid[], %(tokens)s::integer[], %(requests)s::integer[], %(rejected)s::integer[]
    ) as counted (agent_id, tokens, requests, rejected)
),
organization_usage as (
    insert into usage_daily as usage
        (organization_id, day, slot, tokens, tokens_by_hour, requests_by_hour, rejected_by_hour)
    select
        %(organization_id)s, %(day)s::date, 0, sum(tokens),
        array_fill(0, array[%(hour)s::integer]) || sum(tokens)::integer || array_fill(0, array[23 - %(hour)s::integer]),
        array_fill(0, array[%(hour)s::integer]) || sum(requests)::integer || array_fill(0, array[23 - %(hour)s::integer]),
        array_fill(0, array[%(hour)s::integer]) || sum(rejected)::integer || array_fill(0, array[23 - %(hour)s::integer])
    from counted
    having count(*) > 0
    on conflict (organization_id, day, slot) do update
    set
        tokens = usage.tokens + excluded.tokens,
        tokens_by_hour[%(hour)s::integer + 1] =
            usage.tokens_by_hour[%(hour)s::integer + 1] + excluded.tokens_by_hour[%(hour)s::integer + 1],
        requests_by_hour[%(hour)s::integer + 1] =
            usage.requests_by_hour[%(hour)s::integer + 1] + excluded.requests_by_hour[%(hour)s::integer + 1],
        rejected_by_hour[%(hour)s::integer + 1] =
            usage.rejected_by_hour[%(hour)s::integer + 1] + excluded.rejected_by_hour[%(hour)s::integer + 1]
)
insert into agent_usage_daily as usage
    (
        organization_id, day, agent_id, slot, tokens, requests, rejected,
        tokens_by_hour, requests_by_hour, rejected_by_hour
    )
select
    %(organization_id)s, %(day)s::date, agent_id, 0, tokens, requests, rejected,
    array_fill(0, array[%(hour)s::integer]) || tokens || array_fill(0, array[23 - %(hour)s::integer]),
    array_fill(0, array[%(hour)s::integer]) || requests || array_fill(0, array[23 - %(hour)s::integer]),
    array_fill(0, array[%(hour)s::integer]) || rejected || array_fill(0, array[23 - %(hour)s::integer])
from counted
on conflict (organization_id, day, agent_id, slot) do update
set
    tokens = usage.tokens + excluded.tokens,
    requests = usage.requests + excluded.requests,
    rejected = usage.rejected + excluded.rejected,
    tokens_by_hour[%(hour)s::integer + 1] =
        usage.tokens_by_hour[%(hour)s::integer + 1] + excluded.tokens_by_hour[%(hour)s::integer + 1],
    requests_by_hour[%(hour)s::integer + 1] =
        usage.requests_by_hour[%(hour)s::integer + 1] + excluded.requests_by_hour[%(hour)s::integer + 1],
    rejected_by_hour[%(hour)s::integer + 1] =
        usage.rejected_by_hour[%(hour)s::integer + 1] + excluded.rejected_by_hour[%(hour)s::integer + 1]
