-- Revokes a key for good: its private half is deleted. Returns no row. Parameters: kid; at: when it is revoked.
--
-- for: operator
update signing_keys
set revoked_at = %(at)s, private_key_encrypted = ''
where kid = %(kid)s
