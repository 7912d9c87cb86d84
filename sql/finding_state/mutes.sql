-- Returns the organization's mutes that have not ended, one row per mute.
-- Parameters: organization_id; at (timestamptz): the current time.
select kind, subject, until
from finding_mutes
where
    organization_id = %(organization_id)s
    and until > %(at)s::timestamptz
