-- Returns the number of tokens that quotas refused, per UTC day of a period, one row per day with refusals, oldest first.
-- Parameters: organization_id; first and last: the first and the last day of the period.
select
    refusals.day as on_day,
    sum((select sum(hours.refused) from unnest(refusals.refused_by_hour) as hours (refused)))::bigint as refused
from quota_refusals_daily as refusals
where
    refusals.organization_id = %(organization_id)s
    and refusals.day >= %(first)s::date
    and refusals.day < %(last)s::date + 1
group by refusals.day
order by refusals.day
