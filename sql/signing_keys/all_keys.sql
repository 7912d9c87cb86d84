-- Returns all signing keys, including revoked keys, one row per key, the key with the latest signs_from first.
--
-- citus: no shard, because the keys are on the coordinator
select kid, alg, private_key_encrypted, created_at, signs_from, revoked_at
from signing_keys
order by signs_from desc, kid
