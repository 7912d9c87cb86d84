-- Returns the UTC calendar months whose stored sums of tokens are missing, or differ from the counters of the days before "day".
-- One row per month, oldest first: month: the month's first day; until: the day after the last day that the sums must include.
-- Parameters: organization_id; day: today in UTC.
--
-- max-pages-read: 500, for four counter rows (slots) per day
-- example: day=2026-04-16
with counted as (
    select month.month, month.until, sum(usage.tokens) as tokens
    from usage_daily as usage
    cross join lateral (
        select
            date_trunc('month', usage.day::timestamp)::date as month,
            least(
                %(day)s::date, (date_trunc('month', usage.day::timestamp) + interval '1 month')::date
            ) as until
    ) as month
    where usage.organization_id = %(organization_id)s and usage.day < %(day)s::date
    group by month.month, month.until
)
select counted.month, counted.until
from counted
left join usage_monthly as summed
    on summed.organization_id = %(organization_id)s
    and summed.month = counted.month
where
    counted.tokens > 0
    and (summed.tokens is distinct from counted.tokens or summed.summed_until <> counted.until)
order by counted.month
