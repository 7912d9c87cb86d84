-- Stores new and changed findings. Returns their ids, one row per finding.
-- Parameters: organization_id; findings (jsonb): an array with one object per finding, whose members have the names of the
-- columns.
--
-- citus: runs in several steps
insert into findings (
    organization_id, finding_id, kind, subject, severity, highest_severity, begins_at, ends_at, first_seen_at,
    last_seen_at, ended_at, misses, announced_severity, report
)
select
    %(organization_id)s, finding_id, kind, subject, severity, highest_severity, begins_at, ends_at, first_seen_at,
    last_seen_at, coalesce(ended_at, 'infinity'), misses, announced_severity, report
from jsonb_to_recordset(%(findings)s::jsonb) as finding_rows (
    finding_id uuid,
    kind text,
    subject text,
    severity text,
    highest_severity text,
    begins_at timestamptz,
    ends_at timestamptz,
    first_seen_at timestamptz,
    last_seen_at timestamptz,
    ended_at timestamptz,
    misses smallint,
    announced_severity text,
    report jsonb
)
on conflict (organization_id, finding_id) do update set
    kind = excluded.kind,
    subject = excluded.subject,
    severity = excluded.severity,
    highest_severity = excluded.highest_severity,
    begins_at = excluded.begins_at,
    ends_at = excluded.ends_at,
    last_seen_at = excluded.last_seen_at,
    ended_at = excluded.ended_at,
    misses = excluded.misses,
    announced_severity = excluded.announced_severity,
    report = excluded.report
returning finding_id
