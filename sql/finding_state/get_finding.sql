-- Returns a finding with its state: one row, or no row if there is no such finding.
-- Parameters: organization_id; finding_id; at (timestamptz): the current time, by which muted_until is null if the finding is not
-- muted.
select {finding}
from findings
where
    organization_id = %(organization_id)s
    and finding_id = %(finding_id)s
