-- Returns the first UTC day on which an organization has usage. One row: on_day, or no row if there is no usage.
-- Parameters: organization_id.
select day as on_day
from usage_daily
where organization_id = %(organization_id)s
order by day
limit 1
