-- Counts a failed authentication for the organization and the agent. All unknown clients share one agent_id, so that invented
-- client ids add no rows. Returns one row.
-- Parameters: organization_id; agent_id; day and hour: of the failure in UTC.
select count_usage(
    -- Citus runs the function on the worker with the organization's rows only if the argument has the collation "C", like the
    -- column organization_id.
    p_organization_id => %(organization_id)s::text collate "C",
    p_agent_id => %(agent_id)s::uuid,
    p_day => %(day)s::date,
    p_hour => %(hour)s::integer,
    p_requests => 0,
    p_rejected => 1
) as slot
