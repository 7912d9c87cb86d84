-- Replaces the encrypted private half of a signing key. Returns no row. Parameters: kid; private_key_encrypted.
--
-- for: operator
update signing_keys
set private_key_encrypted = %(private_key_encrypted)s
where kid = %(kid)s
