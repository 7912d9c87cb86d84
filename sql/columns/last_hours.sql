-- Returns an agent's last hour with tokens (last_token), with requests (last_request) and with rejected requests (last_rejection),
-- each null if there is no such hour. A statement includes this sub-select as {last_hours}. The statement must have rows with the
-- alias "listed", one row per agent: agent_id; token_day, request_day, rejection_day: the agent's last day with tokens, with
-- requests and with rejected requests.
select
    max(hours.hour) filter (where hours.tokens > 0) as last_token,
    max(hours.hour) filter (where hours.requests > 0) as last_request,
    max(hours.hour) filter (where hours.rejected > 0) as last_rejection
from unnest(array[listed.token_day, listed.request_day, listed.rejection_day]) as last (day)
cross join lateral (select last.day offset 0) as calendar
cross join lateral (
    select by_key.day, by_key.tokens_by_hour, by_key.requests_by_hour, by_key.rejected_by_hour
    from agent_usage_daily as by_key
    where
        by_key.organization_id = %(organization_id)s and by_key.day = calendar.day and by_key.agent_id = listed.agent_id
    offset 0
) as usage
cross join lateral (
    select
        (usage.day + make_interval(hours => cell.ordinal::integer - 1)) at time zone 'UTC' as hour,
        cell.tokens, cell.requests, cell.rejected
    from unnest(usage.tokens_by_hour, usage.requests_by_hour, usage.rejected_by_hour)
        with ordinality as cell (tokens, requests, rejected, ordinal)
) as hours
