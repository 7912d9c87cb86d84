-- The organization's markers that ended last, or will end last. One row each, the latest first.
-- Parameters: organization_id; limit.
select {marker}
from markers
where organization_id = %(organization_id)s
order by ends_at desc, starts_at desc, marker_id
limit %(limit)s
