-- Tokens issued per UTC day. One row per day on which something was counted: how many days ago, and the tokens.
-- Parameters: organization_id; day: today in UTC; days: how many days, today included.
--
-- pages: 500, the organization's days, four rows each
select
    %(day)s::date - usage.day as ago,
    sum(usage.tokens)::bigint as tokens
from usage_daily as usage
where
    usage.organization_id = %(organization_id)s
    and usage.day >= %(day)s::date - %(days)s::integer + 1
    and usage.day < %(day)s::date + 1
group by usage.day
