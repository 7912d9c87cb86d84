-- Returns the last evaluation of an organization's findings. One row, or no row before the first evaluation.
-- Parameters: organization_id.
select evaluated_at, first_day, not_computed
from finding_evaluations
where
    organization_id = %(organization_id)s
    and evaluated_at is not null
