-- Suspends an agent, as of "at". Returns no row. Parameters: organization_id; agent_id; at (timestamptz).
update agents
set status = 'suspended', updated_at = %(at)s
where
    organization_id = %(organization_id)s
    and agent_id = %(agent_id)s
