-- What is muted now, by kind and subject. One row for each mute. Parameters: organization_id; at (timestamptz).
select kind, subject, until
from finding_mutes
where
    organization_id = %(organization_id)s
    and until > %(at)s::timestamptz
