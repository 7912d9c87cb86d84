-- Takes back that a finding was acknowledged, because it escalated. Returns its id, or no row if nobody had.
-- Parameters: organization_id; finding_id.
update findings
set
    acknowledged_at = null,
    acknowledged_by = null,
    note = null
where
    organization_id = %(organization_id)s
    and finding_id = %(finding_id)s
    and acknowledged_at is not null
returning finding_id
