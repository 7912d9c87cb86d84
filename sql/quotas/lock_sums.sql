-- Locks an organization's quotas per month in the order in which issuing a token locks them: first the agents' quotas, and then the
-- organization's quota, whose agent_id is nil. Locks quotas without a stored sum too, because the issuance of a token may be
-- storing their first sum. Returns one row per quota. Parameters: organization_id.
--
-- max-pages-read: 10000, because the statement locks all quotas per month of the organization
select agent_id
from quotas
where organization_id = %(organization_id)s and quota_window = 'month'
order by agent_id desc
for update
