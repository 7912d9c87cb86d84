-- Ends a grant. Returns its columns, or no row if there is no such grant. Its access tokens end by oauth/revoke_token with its id.
-- Parameters: organization_id; grant_id; token_digest: which the code or refresh token that is valid now must have, or null.
--
-- example: token_digest=null
delete from grants
where
    organization_id = %(organization_id)s and grant_id = %(grant_id)s::uuid
    and coalesce(token_digest = %(token_digest)s::bytea, true)
returning {grant}
