-- Makes the sums that are kept with the quotas a month of an organization be calculated again, because usage of the past was
-- added. To be run after that. Returns no row. Parameters: organization_id.
update quotas
set other_days_of = null, other_days = null
where organization_id = %(organization_id)s and other_days_of is not null
