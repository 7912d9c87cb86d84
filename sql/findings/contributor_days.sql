-- Returns the tokens of some agents in a period, one row per agent and UTC day with tokens: agent_id, on_day, tokens.
-- Parameters: organization_id; agent_ids (uuid[]); first and last: the first and the last day of the period.
--
-- max-pages-read: 1200, for three pages per agent and day
select usage.agent_id, usage.day as on_day, sum(usage.tokens)::bigint as tokens
from unnest(%(agent_ids)s::uuid[]) as requested (agent_id)
cross join generate_series(0, %(last)s::date - %(first)s::date) as since (days)
-- This lateral join looks up each agent and day by the primary key, because a plain join that was planned while the table was
-- empty would read all agents.
cross join lateral (
    select agent_id, day, tokens
    from agent_usage_daily
    where organization_id = %(organization_id)s and day = %(first)s::date + since.days and agent_id = requested.agent_id
    offset 0
) as usage
group by usage.agent_id, usage.day
