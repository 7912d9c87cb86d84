-- The findings that go on or ended lately, each with its state. One row for each.
-- Parameters: organization_id; ended_after (timestamptz); at (timestamptz): for muted_until.
--
-- pages: 1200, because each finding looks for its mutes by their key
select {finding}
from findings
where
    organization_id = %(organization_id)s
    and ended_at > %(ended_after)s::timestamptz
