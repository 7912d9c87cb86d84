-- Counts a failed authentication. The agent is counted too. Unknown clients share one agent_id, so that invented ids
-- add no row. Returns one row.
-- Parameters: organization_id; agent_id; day and hour: of the failure in UTC.
select count_usage(
    -- On Citus, a function may read the rows of this very value only, which must have the column's collation.
    %(organization_id)s::text collate "C",
    %(agent_id)s::uuid,
    %(day)s::date,
    %(hour)s::integer,
    0,
    1
) as slot
