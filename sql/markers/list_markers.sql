-- Returns the organization's markers, one row per marker. The marker with the latest end is first.
-- Parameters: organization_id; limit.
select {marker}
from markers
where organization_id = %(organization_id)s
order by ends_at desc, starts_at desc, marker_id
limit %(limit)s
