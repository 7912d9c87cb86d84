-- Returns one row for each alert target of the organization whose last attempt failed, the oldest failure first, and in each
-- row how many targets the organization has.
-- Parameters: organization_id.
select
    name,
    enabled,
    failing_since,
    last_error,
    (select count(*) from alert_targets as every where every.organization_id = %(organization_id)s) as targets
from alert_targets
where organization_id = %(organization_id)s and failing_since is not null
order by failing_since, name
