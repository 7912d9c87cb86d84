-- Returns the number of an organization's current findings, for the operator's metrics. One row per kind and severity with
-- findings. Parameters: organization_id.
select kind, severity, count(*) as findings
from findings
where organization_id = %(organization_id)s and ended_at = 'infinity'
group by kind, severity
