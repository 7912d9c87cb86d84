-- One finding with its state. One row, or none if there is no such finding.
-- Parameters: organization_id; finding_id.
select
    finding_id,
    kind,
    subject,
    report,
    first_seen_at,
    last_seen_at,
    nullif(ended_at, 'infinity') as ended_at,
    acknowledged_at,
    acknowledged_by,
    note
from findings
where
    organization_id = %(organization_id)s
    and finding_id = %(finding_id)s
