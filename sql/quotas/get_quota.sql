-- A quota as it was set. Its row, or none.
-- Parameters: organization_id; agent_id: whose quota it is, nil for the organization's own; quota_window: hour, day or month.
--
-- example: quota_window=month
select quota_window, tokens, is_enforced
from quotas
where
    organization_id = %(organization_id)s
    and agent_id = %(agent_id)s::uuid
    and quota_window = %(quota_window)s
