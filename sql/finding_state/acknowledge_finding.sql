-- Acknowledges a finding. Returns its severity, or no row if there is no such finding.
-- Parameters: organization_id; finding_id; at (timestamptz); acknowledged_by: the name of the agent or person; note: text, or
-- null to keep the current note.
update findings
set
    acknowledged_at = %(at)s::timestamptz,
    acknowledged_by = %(acknowledged_by)s,
    note = coalesce(%(note)s::text, note)
where
    organization_id = %(organization_id)s
    and finding_id = %(finding_id)s
returning severity
