-- The public keys against which an assertion of a client is verified, a bounded number of them. One row per key of an
-- active agent, of a credential that is neither revoked nor expired at "at": those that the assertion names first, then
-- those without a name; of these, the newest credential's first.
-- Parameters: organization_id; agent_id; alg: the keys' algorithm; kid: of the assertion, or null: then the name of a
-- key does not matter; most: the maximum number of keys; at (timestamptz).
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
