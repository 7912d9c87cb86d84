-- Sets a quota. Returns no row.
-- Parameters: organization_id; agent_id: the agent with the quota, or nil for the organization; quota_window: hour, day or month;
-- tokens; is_enforced; at (timestamptz).
--
-- example: quota_window=day; tokens=1000
insert into quotas (organization_id, agent_id, quota_window, tokens, is_enforced, created_at, updated_at)
values (
    %(organization_id)s, %(agent_id)s::uuid, %(quota_window)s, %(tokens)s::bigint, %(is_enforced)s::boolean, %(at)s, %(at)s
)
on conflict (organization_id, agent_id, quota_window) do update
set tokens = excluded.tokens, is_enforced = excluded.is_enforced, updated_at = excluded.updated_at
