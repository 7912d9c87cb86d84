-- Returns a finding with its state: one row, or no row if there is no such finding.
-- Parameters: organization_id; finding_id; at (timestamptz): the current time. muted_until is null unless the finding is muted at
-- this time.
select {finding}
from findings
where
    organization_id = %(organization_id)s
    and finding_id = %(finding_id)s
