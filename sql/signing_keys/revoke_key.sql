-- Revokes a signing key and deletes its private half. Returns no row. Parameters: kid; at: the time of revocation.
--
-- for: operator
update signing_keys
set revoked_at = %(at)s, private_key_encrypted = ''
where kid = %(kid)s
