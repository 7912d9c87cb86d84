-- Returns the alert targets of the organization whose last delivery failed, one row per target. The target that has failed for
-- longest comes first. The column targets has the number of all alert targets of the organization. Parameters: organization_id.
select
    name,
    enabled,
    failing_since,
    last_error,
    (select count(*) from alert_targets as all_targets where all_targets.organization_id = %(organization_id)s) as targets
from alert_targets
where organization_id = %(organization_id)s and failing_since is not null
order by failing_since, name
