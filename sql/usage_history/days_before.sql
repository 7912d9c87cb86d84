-- Returns the UTC days before "before" on which an organization has usage, one row per day, oldest first: day, tokens.
-- Parameters: organization_id; before: the first day that is not returned.
--
-- for: operator
select day, sum(tokens)::bigint as tokens
from usage_daily
where organization_id = %(organization_id)s and day < %(before)s::date
group by day
order by day
