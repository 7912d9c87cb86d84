-- Returns the findings that continue or ended after ended_after, with their states. One row per finding.
-- Parameters: organization_id; ended_after (timestamptz); at (timestamptz): for muted_until.
--
-- pages: 1200, because each finding looks for its mutes by their key
select {finding}
from findings
where
    organization_id = %(organization_id)s
    and ended_at > %(ended_after)s::timestamptz
