-- Removes the sum of other days from the organization's row, after quotas/forget_sums. Returns no row.
-- Parameters: organization_id.
update organizations
-- Not as a slice: Citus ends the server if a column is set to a slice of itself.
set quotas = array[quotas[1], quotas[2], quotas[3]]
where organization_id = %(organization_id)s and quotas[4] is not null
