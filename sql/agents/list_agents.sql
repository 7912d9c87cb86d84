-- Returns a page of an organization's agents, one row per agent that is not deleted, oldest first. The row includes suspends_at:
-- the announced instant of the agent's suspension, or null.
-- Parameters: organization_id; after_at (timestamptz), after_id: created_at and agent_id in the last row of the previous page, or
-- null; name, owner: returns only agents with this name or owner, null for all; limit.
--
-- example: name=null; owner=null
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
    and (%(name)s::text is null or name = %(name)s::text)
    and (%(owner)s::text is null or owner = %(owner)s::text)
    -- The index scan begins at this lower bound. greatest() ignores null parameters. With coalesce(), the planner would not use
    -- the index under row-level security.
    and (created_at, agent_id) > (
        greatest(%(after_at)s::timestamptz, '-infinity'),
        greatest(%(after_id)s::uuid, nil_uuid())
    )
order by created_at, agent_id
limit %(limit)s
