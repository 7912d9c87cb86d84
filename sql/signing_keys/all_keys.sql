-- Returns all signing keys, revoked ones included, one row per key, the one that signs last first.
--
-- citus: no shard, because the keys are on the coordinator
select kid, alg, private_key_encrypted, created_at, signs_from, revoked_at
from signing_keys
order by signs_from desc, kid
