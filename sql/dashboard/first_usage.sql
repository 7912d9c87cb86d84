-- The first UTC day on which anything was counted for an organization. One row: on_day; none if nothing was.
-- Parameters: organization_id.
select day as on_day
from usage_daily
where organization_id = %(organization_id)s
order by day
limit 1
