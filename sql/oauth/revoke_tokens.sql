-- Revokes tokens. Revoking a token twice has no effect. Returns no row.
-- Parameters: organization_id; jtis (text[]); expires_at (timestamptz): as in oauth/revoke_token.
--
-- citus: runs in several steps
-- example: jtis={a,b}
insert into revoked_tokens (organization_id, jti, expires_at)
select %(organization_id)s, jti, %(expires_at)s::timestamptz
from unnest(%(jtis)s::text[]) as revoked (jti)
on conflict (organization_id, jti) do nothing
