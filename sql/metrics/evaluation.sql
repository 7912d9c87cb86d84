-- Returns the last evaluation of an organization's findings, for the operator's metrics. One row: the instant of the evaluation,
-- or of the organization's creation if there was none; the duration in seconds; the number of kinds of findings that were left out.
-- Parameters: organization_id.
select
    coalesce(last.evaluated_at, organizations.created_at) as evaluated_at,
    coalesce(last.seconds, 0) as seconds,
    coalesce(cardinality(last.not_computed), 0) as not_computed
from organizations
left join finding_evaluations as last
    on last.organization_id = organizations.organization_id
where organizations.organization_id = %(organization_id)s
