-- Stores when an agent will be suspended because it is dormant. Returns no row.
-- Parameters: organization_id; agent_id; suspends_at (timestamptz).
insert into announced_suspensions (organization_id, agent_id, suspends_at)
values (%(organization_id)s, %(agent_id)s, %(suspends_at)s::timestamptz)
