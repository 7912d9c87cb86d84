-- Returns an organization's usage on a day and in the month up to that day, for the operator's metrics. One row, or no row if
-- there was no usage in that month.
-- Parameters: organization_id; day.
select
    (select name from organizations where organization_id = %(organization_id)s) as name,
    coalesce(sum(usage.tokens) filter (where usage.day = %(day)s::date), 0)::bigint as tokens_today,
    coalesce(sum(usage.tokens), 0)::bigint as tokens_this_month,
    coalesce(sum(of_day.requests), 0)::bigint as requests_today,
    coalesce(sum(of_day.rejected), 0)::bigint as rejections_today
from usage_daily as usage
left join lateral (
    select
        (select sum(hours.n) from unnest(usage.requests_by_hour) as hours (n)) as requests,
        (select sum(hours.n) from unnest(usage.rejected_by_hour) as hours (n)) as rejected
) as of_day on usage.day = %(day)s::date
where
    usage.organization_id = %(organization_id)s
    and usage.day >= date_trunc('month', %(day)s::date)::date
    and usage.day < %(day)s::date + 1
having count(*) > 0
