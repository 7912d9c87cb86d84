-- Returns the encrypted client secrets of all OpenID providers, one row per provider with a secret.
--
-- for: operator
select organization_id, openid_provider_id, sealed
from openid_providers
where sealed is not null
order by organization_id
