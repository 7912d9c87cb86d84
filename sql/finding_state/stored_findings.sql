-- The findings that go on or ended lately, to be compared with those that are computed. One row for each.
-- Parameters: organization_id; ended_after (timestamptz).
select
    finding_id,
    kind,
    subject,
    severity,
    highest_severity,
    begins_at,
    ends_at,
    first_seen_at,
    last_seen_at,
    nullif(ended_at, 'infinity') as ended_at,
    misses,
    announced_severity,
    report
from findings
where
    organization_id = %(organization_id)s
    and ended_at > %(ended_after)s::timestamptz
