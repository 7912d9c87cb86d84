-- Ends the tokens that were issued to an agent before an instant. Returns the instant, or a later instant of an earlier call.
-- Parameters: organization_id; agent_id; not_before (timestamptz).
update agents
set tokens_not_before = greatest(tokens_not_before, %(not_before)s)
where organization_id = %(organization_id)s and agent_id = %(agent_id)s
returning tokens_not_before
