-- Publishes a signing key. Returns no row.
-- Parameters: kid; alg; private_key_encrypted; at: the time of creation; signs_from (timestamptz): the time of the first signature.
--
-- for: operator
insert into signing_keys (kid, alg, private_key_encrypted, created_at, signs_from)
values (%(kid)s, %(alg)s, %(private_key_encrypted)s, %(at)s, %(signs_from)s)
