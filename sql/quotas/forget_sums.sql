-- Makes the sums that are kept with the quotas a month of an organization be calculated again, because usage of the past was
-- added. To be run after that and after quotas/lock_sums. Returns no row.
-- Parameters: organization_id.
--
-- pages: 10000, it writes all of the organization's quotas a month
update quotas
set other_days_of = null, other_days = null
where organization_id = %(organization_id)s and quota_window = 'month'
