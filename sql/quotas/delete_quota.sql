-- Deletes a quota. Returns the deleted row, or no row if there is no such quota.
-- Parameters: organization_id; agent_id: the agent with the quota, or nil for the organization; quota_window: hour, day or month.
--
-- example: quota_window=month
delete from quotas
where organization_id = %(organization_id)s and agent_id = %(agent_id)s::uuid and quota_window = %(quota_window)s
returning quota_window, tokens, is_enforced
