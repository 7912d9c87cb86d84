-- Makes the sums that are kept with the quotas a month of an organization be calculated again, because usage of the past was
-- added. To be run after that. Returns no row. Parameters: organization_id.
-- All rows, also those without a sum: a token that is just storing its first one has locked the row, so this waits for it.
update quotas
set other_days_of = null, other_days = null
where organization_id = %(organization_id)s and quota_window = 'month'
