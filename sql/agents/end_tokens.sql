-- Ends the tokens that were issued to an agent before not_before. Returns one row: tokens_not_before, the latest not_before of
-- all calls.
-- Parameters: organization_id; agent_id; not_before (timestamptz).
update agents
set tokens_not_before = greatest(tokens_not_before, %(not_before)s)
where organization_id = %(organization_id)s and agent_id = %(agent_id)s
returning tokens_not_before
