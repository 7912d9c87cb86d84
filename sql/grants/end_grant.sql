-- Ends a grant. Returns its columns, or no row. oauth/revoke_token with the grant's id ends the grant's access tokens.
-- Parameters: organization_id; grant_id; token_digest: of the grant's valid code or refresh token, otherwise nothing ends; or null.
--
-- example: token_digest=null
delete from grants
where
    organization_id = %(organization_id)s and grant_id = %(grant_id)s::uuid
    and coalesce(token_digest = %(token_digest)s::bytea, true)
returning {grant}
