-- Sends the usage of an organization's agents to the client as CSV: a header, and one line per agent and UTC hour with usage,
-- sorted by hour and agent. Returns no row.
-- Parameters: organization_id; first and last: UTC days.
--
-- for: operator
copy (
    select began_at as "time", agent_id as agent, tokens, requests, rejected
    from agent_usage_by_hour
    where organization_id = %(organization_id)s and day between %(first)s::date and %(last)s::date
    order by day, began_at, agent_id
) to stdout with (format csv, header)
