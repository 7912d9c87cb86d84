-- Sets the times at which credentials were last used. Returns no row.
-- Parameters: organization_id; credential_ids (uuid[]); used_at (timestamptz[]): one instant per credential.
update credentials
set last_used_at = used.used_at
from unnest(%(credential_ids)s::uuid[], %(used_at)s::timestamptz[]) as used (credential_id, used_at)
where
    credentials.organization_id = %(organization_id)s
    and credentials.credential_id = used.credential_id
