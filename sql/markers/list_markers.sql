-- Returns the organization's markers with the latest ends, one row per marker, the latest first.
-- Parameters: organization_id; limit.
select {marker}
from markers
where organization_id = %(organization_id)s
order by ends_at desc, starts_at desc, marker_id
limit %(limit)s
