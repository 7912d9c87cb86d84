-- Returns the public keys with which an assertion of an active client may be verified, one row per key, from credentials that are
-- valid at "at". Keys with the kid in the assertion come first, then keys without a kid. Within each group, keys of newer
-- credentials come first.
-- Parameters: organization_id; agent_id; alg: the algorithm of the keys; kid: the kid in the assertion, or null for any key;
-- max_keys; at (timestamptz).
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
limit %(max_keys)s
