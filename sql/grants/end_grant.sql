-- Deletes a grant. Returns the grant's columns, or no row if no grant matches. The grant's access tokens must be ended by
-- oauth/revoke_token.
-- Parameters: organization_id; grant_id; token_digest: deletes the grant only if this is the digest of its current code or refresh
-- token, null to delete it in any case.
--
-- example: token_digest=null
delete from grants
where
    organization_id = %(organization_id)s and grant_id = %(grant_id)s::uuid
    and coalesce(token_digest = %(token_digest)s::bytea, true)
returning {grant}
