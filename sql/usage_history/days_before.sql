-- The UTC days before a day on which something was counted, oldest first. One row a day: day, tokens.
-- Parameters: organization_id; before: the day.
--
-- for: operator
select day, sum(tokens)::bigint as tokens
from usage_daily
where organization_id = %(organization_id)s and day < %(before)s::date
group by day
order by day
