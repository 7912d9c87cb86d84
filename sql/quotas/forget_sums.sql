-- Deletes the sums of usage that are stored with an organization's quotas per month, because past usage was added. Run this
-- statement after the usage was added and after quotas/lock_sums. Returns no row. Parameters: organization_id.
--
-- max-pages-read: 10000, because the statement writes all quotas per month of the organization
update quotas
set other_days_of = null, other_days = null
where organization_id = %(organization_id)s and quota_window = 'month'
