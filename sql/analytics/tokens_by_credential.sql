-- Returns an organization's tokens by agent, credential, resource and UTC day, one row per agent, credential and resource: days
-- (integer[]): the days with tokens as numbers of days after "first"; tokens (bigint[]): the tokens on each of these days. The
-- days are unsorted, and a day with several counter rows (slots) occurs several times, because sorting and summing take twice as
-- long for ten thousand agents. resource is empty for our own API. One further row, whose credential_id is null, has all tokens
-- of the organization, unless there are none. The tokens that the other rows do not contain are not attributed to a credential.
-- One statement returns all rows, so that all counts are of the same instant.
-- Parameters: organization_id; first; last: the first and the last day.
--
-- pages: 25000, the days of each of ten thousand agents
-- fleet-pages: 10000
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
