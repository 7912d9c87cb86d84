-- Stores the instant at which a dormant agent will be suspended. Returns no row.
-- Parameters: organization_id; agent_id; suspends_at (timestamptz).
insert into announced_suspensions (organization_id, agent_id, suspends_at)
values (%(organization_id)s, %(agent_id)s, %(suspends_at)s::timestamptz)
