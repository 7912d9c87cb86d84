-- Returns the row of a quota, or no row if there is no such quota.
-- Parameters: organization_id; agent_id: the agent with the quota, or nil for the organization; quota_window: hour, day or month.
--
-- example: quota_window=month
select quota_window, tokens, is_enforced
from quotas
where organization_id = %(organization_id)s and agent_id = %(agent_id)s::uuid and quota_window = %(quota_window)s
