-- Stores the usage of an organization that has none yet, in all its counters. Returns no row.
-- Parameters: organization_id; and arrays of one length, an element an agent and UTC hour in which something was
-- counted: agent_ids (uuid[]); days (date[]); hours (integer[]); tokens, requests, rejected (integer[]).
with counted as materialized (
    select agent_id, day, hour, tokens, requests, rejected
    from unnest(
        %(agent_ids)s::uuid[], %(days)s::date[], %(hours)s::integer[],
        %(tokens)s::integer[], %(requests)s::integer[], %(rejected)s::integer[]
    ) as counted (agent_id, day, hour, tokens, requests, rejected)
),
agent_hours as materialized (
    select
        agent_id,
        day,
        hour,
        coalesce(tokens, 0) as tokens,
        coalesce(requests, 0) as requests,
        coalesce(rejected, 0) as rejected
    from (select distinct agent_id, day from counted) as agent_days
    cross join generate_series(0, 23) as clock (hour)
    left join counted using (agent_id, day, hour)
),
agent_usage as (
    insert into agent_usage_daily
        (
            organization_id, day, agent_id, slot, tokens, requests, rejected,
            tokens_by_hour, requests_by_hour, rejected_by_hour
        )
    select
        %(organization_id)s, day, agent_id, 0, sum(tokens), sum(requests), sum(rejected),
        array_agg(tokens order by hour), array_agg(requests order by hour), array_agg(rejected order by hour)
    from agent_hours
    group by day, agent_id
),
hours as (
    select day, hour, sum(tokens) as tokens, sum(requests) as requests, sum(rejected) as rejected
    from agent_hours
    group by day, hour
)
insert into usage_daily (organization_id, day, slot, tokens, tokens_by_hour, requests_by_hour, rejected_by_hour)
select
    %(organization_id)s, day, 0, sum(tokens),
    array_agg(tokens order by hour), array_agg(requests order by hour), array_agg(rejected order by hour)
from hours
group by day
