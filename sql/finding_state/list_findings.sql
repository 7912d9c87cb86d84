-- The findings that go on or ended lately, each with its state. One row for each.
-- Parameters: organization_id; ended_after (timestamptz).
select
    finding_id,
    kind,
    subject,
    report,
    first_seen_at,
    last_seen_at,
    nullif(ended_at, 'infinity') as ended_at,
    acknowledged_at,
    acknowledged_by,
    note
from findings
where
    organization_id = %(organization_id)s
    and ended_at > %(ended_after)s::timestamptz
