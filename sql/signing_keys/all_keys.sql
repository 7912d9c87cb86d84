-- All signing keys. One row a key, the one that signs last first. Parameters: none.
select kid, alg, public_jwk, private_key_encrypted, created_at, signs_from
from signing_keys
order by signs_from desc, kid
