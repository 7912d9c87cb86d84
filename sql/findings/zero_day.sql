-- The organization's tokens of each completed UTC day that has some. One row a day, the oldest first: day, tokens.
-- Parameters: organization_id; day: today in UTC; first_day (date).
--
-- pages: 700, the organization's days, four rows each
select usage.day, sum(usage.tokens)::bigint as tokens
from usage_daily as usage
where
    usage.organization_id = %(organization_id)s
    and usage.day >= %(first_day)s::date
    and usage.day < %(day)s::date
group by usage.day
having sum(usage.tokens) > 0
order by usage.day
