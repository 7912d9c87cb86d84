-- Publishes a key. Returns no row.
-- Parameters: kid; alg; public_jwk (JSON text); private_key_encrypted; at: when it is created; signs_from (timestamptz).
--
-- for: operator
insert into signing_keys (kid, alg, public_jwk, private_key_encrypted, created_at, signs_from)
values (%(kid)s, %(alg)s, %(public_jwk)s::jsonb, %(private_key_encrypted)s, %(at)s, %(signs_from)s)
