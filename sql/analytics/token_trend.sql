-- Returns an organization's tokens per UTC day of a period. One row per day with usage: since (the number of days since the first
-- day) and tokens.
-- Parameters: organization_id; first and last: the first and the last day of the period.
--
-- max-pages-read: 500, for four counter rows (slots) per day
select usage.day - %(first)s::date as since, sum(usage.tokens)::bigint as tokens
from usage_daily as usage
where usage.organization_id = %(organization_id)s and usage.day >= %(first)s::date and usage.day < %(last)s::date + 1
group by usage.day
