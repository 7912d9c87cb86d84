-- The hours of an agent's last token, request and rejection, on the days token_day, request_day and rejection_day of the row
-- "listed". A statement has {last_hours} in place of this sub-select.
select
    max(cell.ordinal) filter (where usage.day = listed.token_day and cell.tokens > 0) - 1 as token_hour,
    max(cell.ordinal) filter (where usage.day = listed.request_day and cell.requests > 0) - 1 as request_hour,
    max(cell.ordinal) filter (where usage.day = listed.rejection_day and cell.rejected > 0) - 1 as rejection_hour
from unnest(array[listed.token_day, listed.request_day, listed.rejection_day]) as last (day)
cross join lateral (select last.day offset 0) as calendar
cross join lateral (
    select by_key.day, by_key.tokens_by_hour, by_key.requests_by_hour, by_key.rejected_by_hour
    from agent_usage_daily as by_key
    where
        by_key.organization_id = %(organization_id)s and by_key.day = calendar.day and by_key.agent_id = listed.agent_id
    offset 0
) as usage
cross join lateral unnest(usage.tokens_by_hour, usage.requests_by_hour, usage.rejected_by_hour)
    with ordinality as cell (tokens, requests, rejected, ordinal)
