-- Returns for the current UTC hour, day and month the first hour in which the organization's own quota refused a token, one row
-- per window with refusals: quota_window (hour, day or month); began_at.
-- Parameters: organization_id; day; hour: the current UTC day and hour.
--
-- max-pages-read: 500, the refusals of the month
-- example: day=2026-04-15; hour=12
select
    refusals.quota_window,
    min(refusals.day + make_interval(hours => hours.ordinal::integer - 1)) at time zone 'UTC' as began_at
from quota_refusals_daily as refusals
cross join lateral unnest(refusals.refused_by_hour) with ordinality as hours (refused, ordinal)
where
    refusals.organization_id = %(organization_id)s
    and refusals.day between date_trunc('month', %(day)s::date::timestamp)::date and %(day)s::date
    and refusals.holder = 'organization'
    and hours.refused > 0
    and (refusals.quota_window = 'month' or refusals.day = %(day)s::date)
    and (refusals.quota_window <> 'hour' or hours.ordinal = %(hour)s::integer + 1)
group by refusals.quota_window
