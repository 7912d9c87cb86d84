-- Returns the findings that are ongoing or ended after ended_after, including their states, one row per finding.
-- Parameters: organization_id; ended_after (timestamptz); at (timestamptz): the current time. muted_until is null unless the
-- finding is muted at this time.
--
-- max-pages-read: 1200, for two look-ups of mutes per finding
select {finding}
from findings
where
    organization_id = %(organization_id)s
    and ended_at > %(ended_after)s::timestamptz
