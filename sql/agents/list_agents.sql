-- A page of an organization's agents. One row per agent that is not deleted, oldest first, with suspends_at: when it will be
-- suspended because it is dormant, or null.
-- Parameters: organization_id; after_at (timestamptz), after_id: the last row of the page before, or null; limit;
-- at is not used.
select
    {agent},
    (
        select announced.suspends_at
        from announced_suspensions as announced
        where announced.organization_id = %(organization_id)s and announced.agent_id = agents.agent_id
    ) as suspends_at
from agents
where
    organization_id = %(organization_id)s
    and deleted_at is null
    -- A bound of the index, also on the first page, so that each page reads as much. greatest() ignores null; under
    -- row-level security coalesce() would keep the planner from using the index.
    and (created_at, agent_id) > (
        greatest(%(after_at)s::timestamptz, '-infinity'),
        greatest(%(after_id)s::uuid, nil_uuid())
    )
order by created_at, agent_id
limit %(limit)s
