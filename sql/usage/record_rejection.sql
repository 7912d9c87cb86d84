-- Counts a failed authentication. The agent is counted too. Unknown clients share one agent_id, so that invented ids
-- add no row. Returns one row.
-- Parameters: organization_id; agent_id; day and hour: of the failure in UTC.
select count_usage(
    %(organization_id)s::text,
    %(agent_id)s::uuid,
    %(day)s::date,
    %(hour)s::integer,
    0,
    0,
    1
) as slot
