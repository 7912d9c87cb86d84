-- Returns the number of tokens issued to an agent or an organization so far in the current window of a quota. One row: used; no
-- row if there are no tokens.
-- Parameters: organization_id; day; hour; agent_id: nil for the organization; quota_window: hour, day or month.
--
-- max-pages-read: 500, for each day of the month
-- example: quota_window=month
select sum(case when %(quota_window)s::text = 'hour' then counted.in_hour else counted.tokens end)::bigint as used
from generate_series(0, 30) as since (days)
cross join lateral (
    select date_trunc('month', %(day)s::date::timestamp)::date + since.days as day
    offset 0
) as in_month
cross join lateral (
    select tokens, tokens_by_hour[%(hour)s::integer + 1] as in_hour
    from agent_usage_daily
    where organization_id = %(organization_id)s and day = in_month.day and agent_id = %(agent_id)s::uuid
    union all
    select tokens, tokens_by_hour[%(hour)s::integer + 1]
    from usage_daily
    where organization_id = %(organization_id)s and day = in_month.day and %(agent_id)s::uuid = nil_uuid()
    offset 0
) as counted
where
    in_month.day = %(day)s::date
    or %(quota_window)s::text = 'month'
    and in_month.day < (date_trunc('month', %(day)s::date::timestamp) + interval '1 month')::date
having count(*) > 0
