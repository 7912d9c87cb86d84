-- Returns the changes of a finding, one row per change, oldest first.
-- Parameters: organization_id; finding_id.
select changed_at, change, severity, changed_by, note
from finding_changes
where
    organization_id = %(organization_id)s
    and finding_id = %(finding_id)s
order by changed_at, change
