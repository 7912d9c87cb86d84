-- Returns the organization's current mutes of findings, one row per mute, sorted by kind and subject.
-- Parameters: organization_id; at (timestamptz).
select kind, subject, until
from finding_mutes
where
    organization_id = %(organization_id)s
    and until > %(at)s::timestamptz
