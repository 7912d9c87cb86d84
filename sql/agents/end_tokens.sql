-- Ends an agent's tokens that were issued before not_before. Returns not_before, or the instant of an earlier call if it is later.
-- Parameters: organization_id; agent_id; not_before (timestamptz).
update agents
set tokens_not_before = greatest(tokens_not_before, %(not_before)s)
where organization_id = %(organization_id)s and agent_id = %(agent_id)s
returning tokens_not_before
