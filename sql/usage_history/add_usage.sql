-- Adds past usage to the counters of an organization and of its agents. Returns no row.
-- Parameters: organization_id; agent_ids (uuid[]); and arrays of equal length with one element per agent and UTC hour with
-- usage: agents (integer[]): the agent's position in agent_ids, from 1; hours (integer[]): hours since 1970-01-01 00:00 UTC;
-- tokens, requests, rejected (bigint[]).
--
-- for: operator
with counted as materialized (
    select
        (%(agent_ids)s::uuid[])[agent] as agent_id,
        date '1970-01-01' + hour / 24 as day,
        hour %% 24 as hour,
        tokens,
        requests,
        rejected
    from unnest(
        %(agents)s::integer[], %(hours)s::integer[],
        %(tokens)s::bigint[], %(requests)s::bigint[], %(rejected)s::bigint[]
    ) as counted (agent, hour, tokens, requests, rejected)
),
agent_hours as materialized (
    select
        agent_id,
        day,
        hour,
        coalesce(tokens, 0)::integer as tokens,
        coalesce(requests, 0)::integer as requests,
        coalesce(rejected, 0)::integer as rejected
    from (select distinct agent_id, day from counted) as agent_days
    cross join generate_series(0, 23) as clock (hour)
    left join counted using (agent_id, day, hour)
),
counting as materialized (
    -- An import counts in slot 16, and issued tokens are counted in the slots from 0 to 15, so issuing a token does not wait for
    -- an import. The lock makes a second import into the same organization wait, because otherwise each import could lock rows
    -- for which the other import waits.
    select 16 as slot
    from pg_advisory_xact_lock(hashtext(%(organization_id)s::text), 19)
),
agent_usage as (
    insert into agent_usage_daily as usage
        (
            organization_id, day, agent_id, slot, tokens, requests, rejected,
            tokens_by_hour, requests_by_hour, rejected_by_hour
        )
    select
        %(organization_id)s, day, agent_id, (select slot from counting), sum(tokens), sum(requests), sum(rejected),
        array_agg(tokens order by hour), array_agg(requests order by hour), array_agg(rejected order by hour)
    from agent_hours
    group by day, agent_id
    on conflict (organization_id, day, agent_id, slot) do update
    set
        tokens = usage.tokens + excluded.tokens,
        requests = usage.requests + excluded.requests,
        rejected = usage.rejected + excluded.rejected,
        tokens_by_hour = add_by_hour(usage.tokens_by_hour, excluded.tokens_by_hour),
        requests_by_hour = add_by_hour(usage.requests_by_hour, excluded.requests_by_hour),
        rejected_by_hour = add_by_hour(usage.rejected_by_hour, excluded.rejected_by_hour)
),
hours as (
    select day, hour, sum(tokens) as tokens, sum(requests) as requests, sum(rejected) as rejected
    from agent_hours
    group by day, hour
)
insert into usage_daily as usage
    (organization_id, day, slot, tokens, tokens_by_hour, requests_by_hour, rejected_by_hour)
select
    %(organization_id)s, day, (select slot from counting), sum(tokens), array_agg(tokens::integer order by hour),
    array_agg(requests::integer order by hour), array_agg(rejected::integer order by hour)
from hours
group by day
on conflict (organization_id, day, slot) do update
set
    tokens = usage.tokens + excluded.tokens,
    tokens_by_hour = add_by_hour(usage.tokens_by_hour, excluded.tokens_by_hour),
    requests_by_hour = add_by_hour(usage.requests_by_hour, excluded.requests_by_hour),
    rejected_by_hour = add_by_hour(usage.rejected_by_hour, excluded.rejected_by_hour)
