-- Locks the quotas a month of an organization, of its agents first and then its own, whose agent_id is nil: a token locks them in
-- this order. All of them, also those without a sum: a token that is just storing its first one has locked the row, so this waits
-- for it. One row each.
-- Parameters: organization_id.
--
-- pages: 10000, it locks all of the organization's quotas a month
select agent_id
from quotas
where organization_id = %(organization_id)s and quota_window = 'month'
order by agent_id desc
for update
