-- Locks an organization's quotas per month: first those of its agents and then the organization's own, whose agent_id is nil,
-- which is the order in which a token locks them. Quotas without a sum are locked too, because a token that is storing the
-- first sum has locked such a row. Returns one row per quota. Parameters: organization_id.
--
-- pages: 10000, it locks all of the organization's quotas per month
select agent_id
from quotas
where organization_id = %(organization_id)s and quota_window = 'month'
order by agent_id desc
for update
