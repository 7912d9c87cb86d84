-- Publishes a signing key. Returns no row.
-- Parameters: kid; alg; private_key_encrypted; at: when it is created; signs_from (timestamptz): when it begins to sign.
--
-- for: operator
insert into signing_keys (kid, alg, private_key_encrypted, created_at, signs_from)
values (%(kid)s, %(alg)s, %(private_key_encrypted)s, %(at)s, %(signs_from)s)
