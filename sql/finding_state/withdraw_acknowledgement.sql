-- Deletes the acknowledgement and the note of a finding, because the finding escalated. Returns the finding's id, or no row if
-- the finding was not acknowledged.
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
