-- Stores the instant until which the redirect URIs from an agent's client ID metadata document count as fresh. Returns no row.
-- Parameters: organization_id; agent_id; fresh_until (timestamptz).
update agents
set document_fresh_until = %(fresh_until)s::timestamptz
where organization_id = %(organization_id)s and agent_id = %(agent_id)s
