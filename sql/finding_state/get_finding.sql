-- Returns a finding with its state. One row, or no row if there is no such finding.
-- Parameters: organization_id; finding_id; at (timestamptz): for muted_until.
select {finding}
from findings
where
    organization_id = %(organization_id)s
    and finding_id = %(finding_id)s
