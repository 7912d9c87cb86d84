-- The UTC days before a day on which something was counted, oldest first. One row a day.
-- Parameters: organization_id; before: the day.
select distinct day
from usage_daily
where organization_id = %(organization_id)s and day < %(before)s::date
order by day
