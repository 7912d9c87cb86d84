-- Returns one agent of an organization, or no row if the agent is deleted or does not exist. The row includes suspends_at: the
-- announced instant of the agent's suspension, or null.
-- Parameters: organization_id; agent_id.
select
    {agent},
    (
        select announced.suspends_at
        from announced_suspensions as announced
        where announced.organization_id = %(organization_id)s and announced.agent_id = agents.agent_id
    ) as suspends_at
from agents
where organization_id = %(organization_id)s and agent_id = %(agent_id)s and is_not_deleted(deleted_at)
