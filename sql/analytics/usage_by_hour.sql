-- Returns an organization's usage per UTC hour of a period, one row per hour with usage.
-- Parameters: organization_id; first and last: the first and the last day of the period.
--
-- max-pages-read: 500, for four counter rows (slots) per day
select
    usage.day as on_day,
    (cell.ordinal - 1)::integer as at_hour,
    sum(cell.tokens)::bigint as tokens,
    sum(cell.requests)::bigint as requests,
    sum(cell.rejected)::bigint as rejected
from usage_daily as usage
cross join lateral unnest(usage.tokens_by_hour, usage.requests_by_hour, usage.rejected_by_hour)
    with ordinality as cell (tokens, requests, rejected, ordinal)
where usage.organization_id = %(organization_id)s and usage.day >= %(first)s::date and usage.day < %(last)s::date + 1
group by usage.day, cell.ordinal
having sum(cell.tokens) + sum(cell.requests) + sum(cell.rejected) > 0
order by usage.day, cell.ordinal
