-- Returns the public keys that may verify an assertion of a client, at most a number of them, one row per key. The client's agent
-- is active and the key's credential is valid at "at". The keys that the assertion names come first, then the keys without a
-- name; within each group, the keys of the newest credential.
-- Parameters: organization_id; agent_id; alg: the algorithm of the keys; kid: the key that the assertion names, or null for any
-- key; most: the maximum number of keys; at (timestamptz).
--
-- example: alg=ES256
select key.jwk
from active_agents
join credentials using (organization_id, agent_id)
cross join lateral jsonb_array_elements(credentials.jwks) with ordinality as key (jwk, ordinal)
where
    organization_id = %(organization_id)s
    and agent_id = %(agent_id)s
    and is_credential_in_force(credentials.expires_at, credentials.revoked_at, %(at)s)
    and key.jwk ->> 'alg' = %(alg)s
    and (%(kid)s::text is null or coalesce(key.jwk ->> 'kid', %(kid)s::text) = %(kid)s::text)
order by
    (key.jwk ->> 'kid' = %(kid)s::text) is true desc,
    credentials.created_at desc,
    credentials.credential_id,
    key.ordinal
limit %(most)s
