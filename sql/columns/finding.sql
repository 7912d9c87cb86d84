-- The columns of a finding that statements return. A statement includes this list as {finding}. muted_until is null unless the
-- finding is muted at the time in the parameter "at". Two sub-selects look up the mutes by their entire keys, because
-- PostgreSQL 15 would read all mutes of the kind for a single sub-select with "in".
finding_id, kind, subject, severity, highest_severity, report, first_seen_at, last_seen_at,
nullif(ended_at, 'infinity') as ended_at, misses, announced_severity, acknowledged_at, acknowledged_by, note,
greatest(
    (
        select until
        from finding_mutes
        where
            finding_mutes.organization_id = %(organization_id)s
            and finding_mutes.kind = findings.kind
            and finding_mutes.subject = findings.subject
            and until > %(at)s::timestamptz
    ),
    (
        select until
        from finding_mutes
        where
            finding_mutes.organization_id = %(organization_id)s
            and finding_mutes.kind = findings.kind
            and finding_mutes.subject = 'organization'
            and until > %(at)s::timestamptz
    )
) as muted_until
