-- Returns an organization's tokens in a period, one row per agent, credential and resource (empty: our own API): days
-- (integer[]): the days with tokens, as numbers of days after "first"; tokens (bigint[]): the tokens on each of these days. One
-- more row has null as credential_id, and all tokens of the organization, including imported tokens, which have no credential.
-- The days are unsorted, and may occur several times, because a day can have several counter rows (slots). If this statement
-- sorted and summed the days, it would take twice as long for ten thousand agents. One statement returns all rows, so that all
-- counts are of one instant.
-- Parameters: organization_id; first and last: the first and the last day of the period.
--
-- max-pages-read: 25000, for the days of ten thousand agents
-- max-pages-read-with-1000-agents: 10000
select
    agent_id,
    credential_id,
    resource,
    array_agg(day - %(first)s::date) as days,
    array_agg(tokens) as tokens
from credential_usage_daily
where organization_id = %(organization_id)s and day >= %(first)s::date and day < %(last)s::date + 1
group by agent_id, credential_id, resource
union all
select null, null, null, array_agg(day - %(first)s::date), array_agg(tokens)
from usage_daily
where organization_id = %(organization_id)s and day >= %(first)s::date and day < %(last)s::date + 1
having count(*) > 0
