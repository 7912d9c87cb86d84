-- Returns the quotas of an organization and of its agents, one row per quota: agent_id, null for a quota of the organization;
-- quota_window: hour, day or month; tokens; is_enforced. Parameters: organization_id.
--
-- max-pages-read: 500, for all quotas of the organization
select
    nullif(agent_id, nil_uuid()) as agent_id,
    quota_window,
    tokens,
    is_enforced
from quotas
where organization_id = %(organization_id)s
order by agent_id, array_position(array['hour', 'day', 'month'], quota_window)
