-- Removes the sums of other days from the rows of an organization's agents, after quotas/forget_sums. Returns no row.
-- Parameters: organization_id.
--
-- pages: 10000, it writes the rows of all agents with a quota a month
update agents
-- Not as a slice: Citus ends the server if a column is set to a slice of itself.
set quotas = array[quotas[1], quotas[2], quotas[3]]
where organization_id = %(organization_id)s and quotas[4] is not null
