-- How many findings of an organization go on, for the operator's metrics. One row for each kind and severity that there is.
-- Parameters: organization_id.
select kind, severity, count(*) as findings
from findings
where organization_id = %(organization_id)s and ended_at = 'infinity'
group by kind, severity
