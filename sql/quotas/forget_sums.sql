-- Makes the sums that are kept with the quotas a month of an organization be calculated again, because usage of the past was
-- added. To be run after that. All rows, also those without a sum: a token that is just storing its first one has locked the
-- row, so this waits for it. Returns no row.
-- Parameters: organization_id.
--
-- pages: 10000, it writes all of the organization's quotas a month
update quotas
set other_days_of = null, other_days = null
from (
    -- A token locks its agent's row and then the organization's, whose agent_id is nil.
    select agent_id
    from quotas
    where organization_id = %(organization_id)s and quota_window = 'month'
    order by agent_id desc
    for update
) as locked
where quotas.organization_id = %(organization_id)s and quotas.agent_id = locked.agent_id and quotas.quota_window = 'month'
